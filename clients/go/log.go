package alknet

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
)

// What the library logs goes to the logger from a goroutine of its own, so that a logger may take its
// time, and may call the node itself.
type logLine struct {
	rc   int32 // ALK_LOG_
	text []byte
}

func (n *Node) log(line logLine) {
	select {
	case n.logs <- line:
	default:
		n.lost.Add(1)
	}
}

var levels = [...]slog.Level{slog.LevelError, slog.LevelError, slog.LevelWarn, slog.LevelInfo, slog.LevelDebug}

func (n *Node) writeLogs() {
	for line := range n.logs {
		if lost := n.lost.Swap(0); lost > 0 {
			n.logger.Warn("alknet: the log was too slow", "lines lost", lost)
		}
		n.writeLog(line)
	}
}

func (n *Node) writeLog(line logLine) {
	level := slog.LevelInfo
	if line.rc > 0 && int(line.rc) < len(levels) {
		level = levels[line.rc]
	}
	ctx := context.Background()
	if !n.logger.Enabled(ctx, level) {
		return
	}
	var members map[string]any
	if decode(line.text, &members, true) != nil {
		members = map[string]any{"event": string(line.text)}
	}
	event, _ := members["event"].(string)
	delete(members, "event")
	attrs := make([]slog.Attr, 0, len(members))
	for _, name := range slices.Sorted(maps.Keys(members)) {
		value := members[name]
		if number, ok := value.(json.Number); ok {
			value = number.String()
			if whole, err := number.Int64(); err == nil {
				value = whole
			}
		}
		attrs = append(attrs, slog.Any(name, value))
	}
	n.logger.LogAttrs(ctx, level, "alknet: "+event, attrs...)
}
