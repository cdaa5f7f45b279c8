// What quic-go says that it has done, by its log of events: which packets came, whose key updates there were.
package main

import (
	"context"
	"sync"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/qlog"
	"github.com/quic-go/quic-go/qlogwriter"
)

type trace struct {
	mutex sync.Mutex
	seen  map[string]int
}

func newTrace() *trace { return &trace{seen: map[string]int{}} }

func (t *trace) tracer(context.Context, bool, quic.ConnectionID) qlogwriter.Trace { return t }
func (t *trace) AddProducer() qlogwriter.Recorder                                 { return t }
func (t *trace) Close() error                                                     { return nil }

func (t *trace) RecordEvent(event qlogwriter.Event) {
	name := event.Name()
	switch e := event.(type) {
	case qlog.KeyUpdated:
		name = string(e.Trigger)
	case qlog.PacketReceived:
		name = string(e.Header.PacketType)
	}
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.seen[name]++
}

func (t *trace) count(name string) int {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	return t.seen[name]
}
