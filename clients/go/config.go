package alknet

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Options say what a node is. The zero value is a node that listens on nothing.
type Options struct {
	// Config is a configuration of alknetd, as docs/configuration.md of the library has it: whatever
	// encoding/json makes an object of, a json.RawMessage included. Paths are relative to the working
	// directory.
	Config any
	// ConfigFile is the file of one in place of Config, YAML, or JSON when it ends in ".json"; paths
	// are relative to its folder. Listen and Tokens cannot be given with it.
	ConfigFile string
	// Listen adds to the configuration's listeners: "HOST:PORT" with a numeric host, ":PORT" for all
	// addresses, "unix:PATH". Port 0 lets the kernel choose, see [Node.Listening].
	Listen []string
	// Tokens says who calls with which token. The configuration gets their hashes alone. Without an
	// ID the holder is a key, whose id is the token's first eight characters; with one it is a peer.
	Tokens map[string]Identity
	// Logger gets what the library logs, and the errors of handlers that callers are not told;
	// slog.Default() if nil. The configuration's log.level is "warn" if that does not say otherwise;
	// "info" has a line for each call.
	Logger *slog.Logger
	// QueueEvents (16,384) and QueueBytes (64 MiB) bound what waits for the program. Above them new
	// calls get BUSY, and subscriptions are held up.
	QueueEvents, QueueBytes uint32
}

// Identity is who somebody is, and what he may do.
type Identity struct {
	ID        string
	Scopes    []string
	Resources map[string][]string
}

type identityJSON struct {
	ID        string              `json:"id"`
	Scopes    []string            `json:"scopes"`
	Resources map[string][]string `json:"resources"`
}

// MarshalJSON writes the library's form of it.
func (i Identity) MarshalJSON() ([]byte, error) {
	j := identityJSON(i)
	if j.Scopes == nil {
		j.Scopes = []string{}
	}
	if j.Resources == nil {
		j.Resources = map[string][]string{}
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads the library's form of it.
func (i *Identity) UnmarshalJSON(text []byte) error { return json.Unmarshal(text, (*identityJSON)(i)) }

// text is the configuration that the options stand for, and the name of the file that it is of.
func (o *Options) text() (text []byte, file string, err error) {
	if o.ConfigFile != "" {
		if o.Config != nil || o.Listen != nil || o.Tokens != nil {
			return nil, "", fmt.Errorf("alknet: ConfigFile stands in place of Config, Listen and Tokens")
		}
		text, err = os.ReadFile(o.ConfigFile)
		return text, o.ConfigFile, err
	}
	members := map[string]json.RawMessage{}
	if o.Config != nil {
		if text, err = json.Marshal(o.Config); err == nil {
			err = json.Unmarshal(text, &members)
		}
		if err != nil {
			return nil, "", fmt.Errorf("alknet: Config: %w", err)
		}
		if members == nil {
			members = map[string]json.RawMessage{}
		}
	}
	for _, address := range o.Listen {
		entry, err := listener(address)
		if err == nil {
			err = appendTo(members, "listen", entry)
		}
		if err != nil {
			return nil, "", err
		}
	}
	for _, token := range slices.Sorted(maps.Keys(o.Tokens)) {
		member, entry, err := holder(token, o.Tokens[token])
		if err == nil {
			err = appendTo(members, member, entry)
		}
		if err != nil {
			return nil, "", err
		}
	}
	if err := defaultLevel(members); err != nil {
		return nil, "", err
	}
	text, err = json.Marshal(members)
	return text, "", err
}

func appendTo(members map[string]json.RawMessage, name string, entry any) error {
	var list []json.RawMessage
	if text := members[name]; text != nil {
		if err := json.Unmarshal(text, &list); err != nil {
			return fmt.Errorf("alknet: Config: %s: must be a list", name)
		}
	}
	text, err := json.Marshal(entry)
	if err != nil {
		return err
	}
	members[name], err = json.Marshal(append(list, text))
	return err
}

func listener(address string) (map[string]any, error) {
	if err := checkText("an address", address); err != nil {
		return nil, err
	}
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return map[string]any{"unix": path}, nil
	}
	host, port, err := net.SplitHostPort(address)
	number, bad := strconv.ParseUint(port, 10, 16)
	if err != nil || bad != nil {
		return nil, fmt.Errorf("alknet: Listen: %q is neither HOST:PORT nor unix:PATH", address)
	}
	if host == "" {
		host = "::"
	}
	return map[string]any{"host": host, "port": number}, nil
}

// holder is the entry of whoever has a token, and of which list it is.
func holder(token string, who Identity) (member string, entry map[string]any, err error) {
	if len(token) < 24 || len(token) > 4096 || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", nil, fmt.Errorf("alknet: Tokens: a token has 24 to 4096 printable characters without spaces")
	}
	sum := sha256.Sum256([]byte(token))
	hash := hex.EncodeToString(sum[:])
	entry = map[string]any{"scopes": append([]string{}, who.Scopes...)}
	if who.ID == "" {
		if who.Resources != nil {
			return "", nil, fmt.Errorf("alknet: Tokens: %s…: Resources need an ID", token[:8])
		}
		entry["prefix"], entry["hash"] = token[:8], hash
		return "keys", entry, nil
	}
	entry["peer_id"], entry["auth_token_hashes"], entry["websocket"] = who.ID, []string{hash}, true
	if who.Resources != nil {
		entry["resources"] = who.Resources
	}
	return "peers", entry, nil
}

func defaultLevel(members map[string]json.RawMessage) error {
	log := map[string]json.RawMessage{}
	if text := members["log"]; text != nil && !bytes.Equal(text, []byte("null")) {
		if err := json.Unmarshal(text, &log); err != nil {
			return fmt.Errorf("alknet: Config: log: must be a mapping")
		}
	}
	if log["level"] == nil {
		log["level"] = json.RawMessage(`"warn"`)
	}
	text, err := json.Marshal(log)
	members["log"] = text
	return err
}
