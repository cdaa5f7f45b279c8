package alknet

import (
	"bytes"
	"encoding/json"
	"reflect"
	"sync"
)

// encoder keeps its buffer for the next value.
type encoder struct {
	buf bytes.Buffer
	enc *json.Encoder
}

var encoders = sync.Pool{New: func() any {
	e := &encoder{}
	e.enc = json.NewEncoder(&e.buf)
	e.enc.SetEscapeHTML(false)
	return e
}}

// encode: the text lives until done. A json.RawMessage is not looked at: the library does that.
func encode(v any) (*encoder, []byte, error) {
	if raw, ok := v.(json.RawMessage); ok && raw != nil {
		return nil, raw, nil
	}
	e := encoders.Get().(*encoder)
	if err := e.enc.Encode(v); err != nil {
		e.done()
		return nil, nil, err
	}
	text := e.buf.Bytes()
	return e, text[:len(text)-1], nil
}

func (e *encoder) done() {
	if e != nil && e.buf.Cap() <= 64<<10 {
		e.buf.Reset()
		encoders.Put(e)
	}
}

// decode: lossless keeps numbers for which v says no type as they came, as json.Number.
func decode(text []byte, v any, lossless bool) error {
	if !lossless {
		return json.Unmarshal(text, v)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return d.Decode(v)
}

// hasInterface says whether values of a type can hold numbers that no type is given for.
func hasInterface(t reflect.Type) bool { return searchInterface(t, map[reflect.Type]bool{}) }

func searchInterface(t reflect.Type, seen map[reflect.Type]bool) bool {
	if seen[t] {
		return false
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Interface:
		return true
	case reflect.Array, reflect.Map, reflect.Pointer, reflect.Slice:
		return searchInterface(t.Elem(), seen)
	case reflect.Struct:
		for i := range t.NumField() {
			if searchInterface(t.Field(i).Type, seen) {
				return true
			}
		}
	}
	return false
}
