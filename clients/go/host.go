package alknet

/*
#cgo !alknet_static pkg-config: libalknet
#cgo alknet_static pkg-config: --static libalknet
#cgo alknet_static LDFLAGS: -Wl,--as-needed -l:libalknet.a
#include <fcntl.h>
#include <stdlib.h>
#include <alknet/host.h>

// None of these calls back into Go, or keeps what it is given.
#cgo nocallback alk_host_call
#cgo noescape alk_host_call
#cgo nocallback alk_host_reply
#cgo noescape alk_host_reply
#cgo nocallback alk_host_emit
#cgo noescape alk_host_emit
#cgo nocallback alk_host_complete
#cgo noescape alk_host_complete
#cgo nocallback alk_host_fail
#cgo noescape alk_host_fail
#cgo nocallback alk_host_pause
#cgo noescape alk_host_pause
#cgo nocallback alk_host_abort
#cgo noescape alk_host_abort
#cgo nocallback alk_host_drain
#cgo noescape alk_host_drain
#cgo nocallback alk_host_release
#cgo noescape alk_host_release

static int twin(int fd) { return fcntl(fd, F_DUPFD_CLOEXEC, 0); }
*/
import "C"

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"
	"unsafe"
)

// This file is all that knows of C.

func libraryVersion() string { return C.GoString(C.alk_version()) }

// The codes that functions of the host return.
const (
	again  = int(C.ALK_EAGAIN)
	ended  = int(C.ALK_EENDED)
	closed = int(C.ALK_ECLOSED)
)

// How calls end.
const (
	endOK      = int32(C.ALK_END_OK)
	endAborted = int32(C.ALK_END_ABORTED)
	endTimeout = int32(C.ALK_END_TIMEOUT)
)

// Of which kind operations are.
const (
	query        = uint32(C.ALK_QUERY)
	mutation     = uint32(C.ALK_MUTATION)
	subscription = uint32(C.ALK_SUBSCRIPTION)
)

const (
	noTimeout       = uint32(C.ALK_NO_TIMEOUT)
	eventNoTimeout  = C.uint32_t(math.MaxUint32)
	continueRunning = uint32(C.ALK_CONTINUE_RUNNING)
)

// event is one of the host, in memory of C until its batch is given back.
type event = C.alk_host_event

const (
	eventCall      = C.ALK_HOST_CALL
	eventValue     = C.ALK_HOST_VALUE
	eventEnd       = C.ALK_HOST_END
	eventRoom      = C.ALK_HOST_ROOM
	eventUp        = C.ALK_HOST_UP
	eventDown      = C.ALK_HOST_DOWN
	eventListening = C.ALK_HOST_LISTENING
	eventLog       = C.ALK_HOST_LOG
	eventReloaded  = C.ALK_HOST_RELOADED
	eventDraining  = C.ALK_HOST_DRAINING
	eventStopped   = C.ALK_HOST_STOPPED
)

// textOf copies what an event carries.
func textOf(e *event) []byte {
	if e.text == nil {
		return nil
	}
	return append([]byte(nil), unsafe.Slice((*byte)(unsafe.Pointer(e.text)), int(e.text_len))...)
}

func goString(s *C.char) string {
	if s == nil {
		return ""
	}
	return C.GoString(s)
}

func goStringN(s *C.char, n C.size_t) string {
	return C.GoStringN(s, C.int(n))
}

// localError is what a code of the library means when no text came with it.
func localError(rc int) error {
	if rc == closed {
		return ErrNotRunning
	}
	return fmt.Errorf("alknet: %s", C.GoString(C.alk_strerror(C.int(rc))))
}

// checkText says what C, whose strings end with NUL, could not be told.
func checkText(what, s string) error {
	if strings.IndexByte(s, 0) >= 0 {
		return fmt.Errorf("alknet: NUL in %s: %q", what, s)
	}
	return checkUTF8(what, s)
}

func checkUTF8(what, s string) error {
	if !utf8.ValidString(s) {
		return fmt.Errorf("alknet: invalid UTF-8 in %s: %q", what, s)
	}
	return nil
}

// cStrings hands strings to C for as long as one call takes.
type cStrings []unsafe.Pointer

// of: NULL for "".
func (c *cStrings) of(s string) *C.char {
	if s == "" {
		return nil
	}
	p := C.CString(s)
	*c = append(*c, unsafe.Pointer(p))
	return p
}

func (c *cStrings) free() {
	for _, p := range *c {
		C.free(p)
	}
}

func bytesOf(b []byte) (*C.char, C.size_t) {
	return (*C.char)(unsafe.Pointer(unsafe.SliceData(b))), C.size_t(len(b))
}

func charsOf(s string) (*C.char, C.size_t) {
	return (*C.char)(unsafe.Pointer(unsafe.StringData(s))), C.size_t(len(s))
}

// reason has room for what the library says of a failure.
type reason [1024]C.char

func (r *reason) error(rc int) error {
	if r[0] != 0 {
		return errors.New("alknet: " + C.GoString(&r[0]))
	}
	return localError(rc)
}

// host is a host of the library. What is called before it is freed is safe, whatever else goes on;
// afterwards everything says that it is closed.
type host struct {
	mu    sync.RWMutex // held for writing to free it
	c     *C.alk_host  // nil: freed
	batch *[batchSize]event
	ready *os.File // readable while events wait
	raw   syscall.RawConn
}

const batchSize = 256

// newHost: check makes start try what can be tried, and no more.
func newHost(text []byte, file string, o *Options, check bool) (*host, error) {
	if err := checkText("a file's name", file); err != nil {
		return nil, err
	}
	var texts cStrings
	defer texts.free()
	config := C.CBytes(text)
	defer C.free(config)
	options := C.alk_host_options{
		size:         C.sizeof_alk_host_options,
		config:       (*C.char)(config),
		config_len:   C.size_t(len(text)),
		file:         texts.of(file),
		queue_events: C.uint32_t(o.QueueEvents),
		queue_bytes:  C.uint32_t(o.QueueBytes),
		log_events:   1,
		sessions:     1,
	}
	if check {
		options.check = 1
	}
	var why reason
	h := &host{}
	if rc := C.alk_host_new(&h.c, &options, &why[0], C.size_t(len(why))); rc != 0 {
		return nil, why.error(int(rc))
	}
	h.batch = (*[batchSize]event)(C.calloc(batchSize, C.sizeof_alk_host_event))
	// A descriptor of its own for the runtime's poller, which closes what it is given.
	fd := C.twin(C.alk_host_fd(h.c))
	if h.batch == nil || fd < 0 {
		h.free()
		return nil, errors.New("alknet: no descriptor or no memory for the events")
	}
	h.ready = os.NewFile(uintptr(fd), "alknet events")
	raw, err := h.ready.SyscallConn()
	if err == nil {
		err = h.ready.SetReadDeadline(time.Time{}) // an error if the runtime cannot wait for it
	}
	if err != nil {
		h.free()
		return nil, err
	}
	h.raw = raw
	return h, nil
}

// wait calls each when events wait, until it says true. No thread is held meanwhile.
func (h *host) wait(each func() bool) {
	h.raw.Read(func(uintptr) bool { return each() })
}

func (h *host) add(o *operation, tag uint64) error {
	var texts cStrings
	defer texts.free()
	var op C.alk_operation
	C.alk_operation_init(&op, C.sizeof_alk_operation)
	op._type = C.uint32_t(o.kind)
	if o.internal {
		op.visibility = C.ALK_INTERNAL_ONLY
	}
	op.name = texts.of(o.name)
	op.description, op.description_len = texts.of(o.description), C.size_t(len(o.description))
	op.input_schema = texts.of(string(o.input))
	op.output_schema = texts.of(string(o.output))
	op.error_schemas = texts.of(string(o.errors))
	op.access_control = texts.of(string(o.access))
	op.resource_id_path, op.resource_id_path_len = texts.of(o.resourceID), C.size_t(len(o.resourceID))
	op.authority = texts.of(string(o.authority))
	op.environment = texts.of(string(o.environment))
	var why reason
	if rc := C.alk_host_add(h.c, &op, C.uint64_t(tag), &why[0], C.size_t(len(why))); rc != 0 {
		return why.error(int(rc))
	}
	return nil
}

func (h *host) start() error {
	var why reason
	if rc := C.alk_host_start(h.c, &why[0], C.size_t(len(why))); rc != 0 {
		return why.error(int(rc))
	}
	return nil
}

// free gives back everything; the host must have stopped, or never have been started.
func (h *host) free() {
	h.mu.Lock()
	defer h.mu.Unlock()
	C.alk_host_free(h.c)
	C.free(unsafe.Pointer(h.batch))
	h.c, h.batch = nil, nil
	if h.ready != nil {
		h.ready.Close()
	}
}

// drain hands the events that wait to each, a batch at a time; how many there were. It has one user
// at a time, who is also the one that frees.
func (h *host) drain(each func(*event)) int {
	all := 0
	for {
		n := int(C.alk_host_drain(h.c, &h.batch[0], C.sizeof_alk_host_event, batchSize))
		for i := range n {
			each(&h.batch[i])
		}
		if n > 0 {
			C.alk_host_release(h.c, &h.batch[0], C.sizeof_alk_host_event, C.size_t(n))
		}
		all += n
		if n < batchSize {
			return all
		}
	}
}

func (h *host) reply(id uint64, json []byte) int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.c == nil {
		return closed
	}
	text, n := bytesOf(json)
	return int(C.alk_host_reply(h.c, C.uint64_t(id), text, n))
}

func (h *host) emit(id uint64, json []byte) int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.c == nil {
		return closed
	}
	text, n := bytesOf(json)
	return int(C.alk_host_emit(h.c, C.uint64_t(id), text, n))
}

func (h *host) complete(id uint64) int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.c == nil {
		return closed
	}
	return int(C.alk_host_complete(h.c, C.uint64_t(id)))
}

func (h *host) fail(id uint64, json []byte) int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.c == nil {
		return closed
	}
	text, n := bytesOf(json)
	return int(C.alk_host_fail(h.c, C.uint64_t(id), text, n))
}

func (h *host) pause(id uint64, paused bool) int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.c == nil {
		return closed
	}
	on := C.int(0)
	if paused {
		on = 1
	}
	return int(C.alk_host_pause(h.c, C.uint64_t(id), on))
}

// abort ends a call of the program, or closes a connection.
func (h *host) abort(id uint64) int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.c == nil {
		return closed
	}
	return int(C.alk_host_abort(h.c, C.uint64_t(id)))
}

func (h *host) stop(graceful bool) int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.c == nil {
		return closed
	}
	on := C.int(0)
	if graceful {
		on = 1
	}
	return int(C.alk_host_stop(h.c, on))
}

func (h *host) reload(config []byte) int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.c == nil {
		return closed
	}
	text, n := bytesOf(config)
	return int(C.alk_host_reload(h.c, text, n))
}

func (h *host) dial(entry []byte, tag uint64) (uint64, error) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.c == nil {
		return 0, ErrNotRunning
	}
	var why reason
	var id C.uint64_t
	text, n := bytesOf(entry)
	if rc := C.alk_host_dial(h.c, text, n, C.uint64_t(tag), &id, &why[0], C.size_t(len(why))); rc != 0 {
		return 0, why.error(int(rc))
	}
	return uint64(id), nil
}

func (h *host) call(name string, input []byte, o *callSpec, tag uint64) (uint64, int) {
	var texts cStrings
	defer texts.free()
	options := C.alk_host_call_options{
		size:        C.sizeof_alk_host_call_options,
		timeout_ms:  C.uint32_t(o.timeout),
		policy:      C.uint32_t(o.policy),
		tag:         C.uint64_t(tag),
		connection:  C.uint64_t(o.connection),
		peer:        texts.of(o.peer),
		parent:      C.uint64_t(o.parent),
		identity:    texts.of(string(o.identity)),
		traceparent: texts.of(o.traceparent),
	}
	if o.stream {
		options.stream = 1
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.c == nil {
		return 0, closed
	}
	operation, operationLen := charsOf(name)
	text, n := bytesOf(input)
	var id C.uint64_t
	rc := C.alk_host_call(h.c, operation, operationLen, text, n, &options, &id)
	return uint64(id), int(rc)
}
