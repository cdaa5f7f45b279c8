// A unary echo and a sum on grpc-go, clear text on loopback, nothing else set. Prints its port and serves until it is killed.
package main

import (
	"context"
	"fmt"
	"log"
	"net"

	"google.golang.org/grpc"

	"bench/hosts/echo"
)

type server struct{ echo.UnimplementedEchoServer }

func (server) Call(_ context.Context, in *echo.Payload) (*echo.Payload, error) {
	return &echo.Payload{Data: in.Data}, nil
}

func (server) Add(_ context.Context, in *echo.Numbers) (*echo.Sum, error) {
	return &echo.Sum{Sum: in.A + in.B}, nil
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	s := grpc.NewServer()
	echo.RegisterEchoServer(s, server{})
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	log.Fatal(s.Serve(listener))
}
