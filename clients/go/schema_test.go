package alknet

import (
	"encoding/json"
	"fmt"
	"math/big"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

type tree struct {
	Name     string  `json:"name"`
	Children []*tree `json:"children,omitempty"`
}

type pair[T any] struct {
	First, Second T
}

type color int

func (color) MarshalText() ([]byte, error) { return []byte("red"), nil }

type opaque struct{ x int }

func (*opaque) UnmarshalJSON([]byte) error  { return nil }
func (opaque) MarshalJSON() ([]byte, error) { return []byte("1"), nil }

func TestSchemasOfTypes(t *testing.T) {
	type all struct {
		Small    int8            `json:"small"`
		Byte     uint8           `json:"byte"`
		Unsigned uint            `json:"unsigned"`
		Int      int             `json:"int" jsonschema:"minimum=3"`
		Float    float64         `json:"float"`
		Number   json.Number     `json:"number"`
		Big      *big.Int        `json:"big"`
		Any      any             `json:"any"`
		Raw      json.RawMessage `json:"raw"`
		Time     time.Time       `json:"time"`
		Address  netip.Addr      `json:"address"`
		Color    color           `json:"color"`
		Opaque   opaque          `json:"opaque"`
		Bytes    []byte          `json:"bytes"`
		Maybe    *string         `json:"maybe,omitempty"`
		hidden   int
	}
	_ = all{}.hidden
	text, err := schemaOf(reflect.TypeFor[all](), false)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Properties           map[string]any
		Required             []string
		AdditionalProperties any
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"small": "map[maximum:127 minimum:-128 type:integer]", "byte": "map[maximum:255 minimum:0 type:integer]",
		"unsigned": "map[minimum:0 type:integer]", "int": "map[minimum:3 type:integer]", "float": "map[type:number]",
		"number": "map[type:number]", "big": "map[type:integer]", "any": "true", "raw": "true",
		"time": "map[format:date-time type:string]", "address": "map[type:string]", "color": "map[type:string]",
		"opaque": "true", "bytes": "map[contentEncoding:base64 type:string]", "maybe": "map[type:string]",
	} {
		if fmt.Sprint(got.Properties[name]) != want {
			t.Errorf("%s: %v", name, got.Properties[name])
		}
	}
	if len(got.Properties) != 15 || len(got.Required) != 14 || got.AdditionalProperties != false {
		t.Error(string(text))
	}
	for _, c := range []struct {
		of   reflect.Type
		open bool
		want string
	}{
		{reflect.TypeFor[any](), false, ""},
		{reflect.TypeFor[struct{}](), false, `{"type":["object","null"],"additionalProperties":false}`},
		{reflect.TypeFor[int](), false, `{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"integer"}`},
		{reflect.TypeFor[[]string](), false, `{"$schema":"https://json-schema.org/draft/2020-12/schema","items":{"type":"string"},"type":"array"}`},
	} {
		if text, err := schemaOf(c.of, c.open); err != nil || string(text) != c.want {
			t.Error(c.of, string(text), err)
		}
	}
	open, err := schemaOf(reflect.TypeFor[addOutput](), true)
	if err != nil || strings.Contains(string(open), "additionalProperties") {
		t.Error(string(open), err)
	}
}

// References to types have to lead somewhere, and to the right one.
func TestTypesThatRefer(t *testing.T) {
	n := run(t, Options{}, func(n *Node) {
		Handle(n, "tree", echo[tree])
		Handle(n, "pairs", echo[pair[pair[int8]]])
		Handle(n, "mixed", echo[struct{ A, B any }])
	})
	for _, c := range []struct {
		operation, input string
		good             bool
	}{
		{"tree", `{"name":"a","children":[{"name":"b","children":[{"name":"c"}]}]}`, true},
		{"tree", `{"name":"a","children":[{"name":"b","children":[{"name":7}]}]}`, false},
		{"tree", `{"name":"a","children":[{"name":"b","more":1}]}`, false},
		{"pairs", `{"First":{"First":1,"Second":2},"Second":{"First":3,"Second":127}}`, true},
		{"pairs", `{"First":{"First":1,"Second":2},"Second":{"First":3,"Second":128}}`, false},
		{"mixed", `{"A":1,"B":[{}]}`, true},
	} {
		out, err := Call[json.RawMessage](bg, n, c.operation, raw(c.input))
		if c.good && (err != nil || string(out) != c.input) || !c.good && codeOf(err) != CodeInvalidInput {
			t.Error(c, string(out), err)
		}
	}
}
