// Package alknet serves operations and calls them over the call protocol of libalknet: HTTP,
// WebSocket, TLS, QUIC and Unix-domain sockets. The C library does the work, on threads of its own;
// this package is its Go side.
//
// A [Node] serves what [Handle] and [HandleStream] give it, once it has been started. [Call] and
// [Subscribe] call operations: of a node, of the other end of a [Conn], or, with [Nested], of
// whatever the operation of a running handler may call. Contexts work in both directions: cancelling
// the one of a caller aborts the call, wherever it runs, and the end of a call cancels the one of its
// handler; so do deadlines.
package alknet
