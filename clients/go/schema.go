package alknet

import (
	"encoding"
	"encoding/json"
	"fmt"
	"math/big"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/invopop/jsonschema"
)

// schemaOf is the JSON Schema of a type; nil: anything. open: an object may have members besides,
// now or later.
func schemaOf(t reflect.Type, open bool) (text json.RawMessage, err error) {
	defer func() {
		if why := recover(); why != nil {
			err = fmt.Errorf("alknet: no schema for %v: %v", t, why)
		}
	}()
	if t.Kind() == reflect.Struct && t.NumField() == 0 {
		return json.RawMessage(`{"type":["object","null"],"additionalProperties":false}`), nil
	}
	if t.Kind() == reflect.Interface {
		return nil, nil
	}
	r := jsonschema.Reflector{
		Anonymous: true, ExpandedStruct: true, AllowAdditionalProperties: open, Mapper: known, Namer: nameOf,
	}
	text, err = json.Marshal(r.ReflectFromType(t))
	// A type that contains itself has to stay where it is referred to.
	if err == nil && strings.Contains(string(text), `"#/$defs/`+nameOf(t)+`"`) {
		r.ExpandedStruct = false
		text, err = json.Marshal(r.ReflectFromType(t))
	}
	return text, err
}

// nameOf names a type's definition: types of different packages have different ones, and none has a
// character that a reference would have to escape.
func nameOf(t reflect.Type) string {
	if t.Name() == "" {
		return ""
	}
	name := t.Name()
	if t.PkgPath() != "" && t.PkgPath() != "main" {
		name = t.PkgPath() + "." + name
	}
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' {
			return r
		}
		return '_'
	}, name)
}

var (
	jsonMarshaler = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
)

// known are types whose JSON is other than their kind says.
func known(t reflect.Type) *jsonschema.Schema {
	switch t {
	case reflect.TypeFor[json.Number]():
		return &jsonschema.Schema{Type: "number"}
	case reflect.TypeFor[big.Int]():
		return &jsonschema.Schema{Type: "integer"}
	case reflect.TypeFor[time.Time](), reflect.TypeFor[json.RawMessage]():
		return nil
	}
	pointer := reflect.PointerTo(t)
	if _, own := pointer.MethodByName("JSONSchema"); own || t.Kind() == reflect.Interface {
		return nil
	}
	if pointer.Implements(jsonMarshaler) {
		return &jsonschema.Schema{}
	}
	if pointer.Implements(textMarshaler) {
		return &jsonschema.Schema{Type: "string"}
	}
	return bounds(t)
}

// bounds of the small integers, which decoding would refuse after the schema has let them pass.
func bounds(t reflect.Type) *jsonschema.Schema {
	s := &jsonschema.Schema{Type: "integer"}
	switch t.Kind() {
	case reflect.Int8, reflect.Int16, reflect.Int32:
		most := int64(1)<<(t.Bits()-1) - 1
		s.Minimum = json.Number(strconv.FormatInt(-most-1, 10))
		s.Maximum = json.Number(strconv.FormatInt(most, 10))
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		s.Minimum = "0"
		s.Maximum = json.Number(strconv.FormatUint(uint64(1)<<t.Bits()-1, 10))
	case reflect.Uint, reflect.Uint64, reflect.Uintptr:
		s.Minimum = "0"
	default:
		return nil
	}
	return s
}
