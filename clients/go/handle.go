package alknet

import (
	"context"
	"encoding/json"
	"iter"
	"reflect"
)

// operation is what a node serves under a name.
type operation struct {
	name, description string
	kind              uint32
	internal          bool
	input, output     json.RawMessage // schemas
	errors            json.RawMessage
	access            json.RawMessage
	authority         json.RawMessage
	environment       json.RawMessage
	resourceID        string
	declared          map[string]bool // codes of errors
	allowed, pinned   []string
	err               error // what is wrong with it
	run               func(s *serving, input []byte)
}

// Handle makes a node serve fn as a query, or with [Mutation] as a mutation, under a name such as
// "demo/add". The schemas of In and Out are those of their types, as github.com/invopop/jsonschema
// makes them: members of In that its type does not know are refused; what a member does not have to
// be there for has omitempty. In as struct{} is "no input". A number for which In has no type, as in
// an any, comes as a json.Number.
//
// The context is the call's: it is done when the call has ended, aborts and deadlines included, and
// [Info] tells what is known of the call. An error that the operation declares by [Errors] is what
// the call fails with; all others, and panics, are INTERNAL "internal error" to the caller and go to
// the node's logger.
//
// What is wrong with the operation is told by [Node.Start]; Handle panics behind that.
func Handle[In, Out any](n *Node, name string, fn func(ctx context.Context, in In) (Out, error), options ...OperationOption) {
	o := newOperation(name, query, reflect.TypeFor[In](), reflect.TypeFor[Out](), options)
	lossless := hasInterface(reflect.TypeFor[In]())
	o.run = func(s *serving, input []byte) {
		var in In
		if err := decode(input, &in, lossless); err != nil {
			s.refuse(err)
			return
		}
		out, err := fn(s, in)
		if err != nil {
			s.fail(err)
			return
		}
		s.reply(out)
	}
	n.add(o)
}

// HandleStream makes a node serve fn as a subscription. Each pair of the sequence is a value, or the
// error that the call fails with; its end is that of the subscription. A caller that reads slowly
// holds the sequence up, and it is left when the call ends for another reason. Otherwise as [Handle].
func HandleStream[In, Out any](n *Node, name string, fn func(ctx context.Context, in In) iter.Seq2[Out, error], options ...OperationOption) {
	o := newOperation(name, subscription, reflect.TypeFor[In](), reflect.TypeFor[Out](), options)
	lossless := hasInterface(reflect.TypeFor[In]())
	o.run = func(s *serving, input []byte) {
		var in In
		if err := decode(input, &in, lossless); err != nil {
			s.refuse(err)
			return
		}
		for out, err := range fn(s, in) {
			if err != nil {
				s.fail(err)
				return
			}
			if !s.emit(out) {
				return
			}
		}
		s.complete()
	}
	n.add(o)
}

func newOperation(name string, kind uint32, in, out reflect.Type, options []OperationOption) *operation {
	o := &operation{name: name, kind: kind, declared: map[string]bool{}}
	for _, option := range options {
		option(o)
	}
	if o.input == nil {
		o.input = o.derive(in, false)
	}
	if o.output == nil {
		o.output = o.derive(out, true)
	}
	if o.allowed != nil || o.pinned != nil {
		o.environment = o.json(map[string][]string{
			"allowed_ops": append([]string{}, o.allowed...), "peer_pinned": append([]string{}, o.pinned...)})
	}
	o.wrong(checkText("a text of the operation", name))
	for _, text := range []string{o.description, o.resourceID} {
		o.wrong(checkUTF8("a text of the operation", text))
	}
	for _, text := range []json.RawMessage{o.input, o.output, o.errors, o.access, o.authority, o.environment} {
		o.wrong(checkText("a text of the operation", string(text)))
	}
	return o
}

// wrong keeps the first thing that is wrong.
func (o *operation) wrong(err error) {
	if o.err == nil {
		o.err = err
	}
}

func (o *operation) json(v any) json.RawMessage {
	text, err := json.Marshal(v)
	o.wrong(err)
	return text
}

func (o *operation) derive(t reflect.Type, open bool) json.RawMessage {
	text, err := schemaOf(t, open)
	o.wrong(err)
	return text
}

// OperationOption says more of an operation.
type OperationOption func(*operation)

// Mutation: it changes something. Otherwise [Handle] makes a query.
func Mutation() OperationOption {
	return func(o *operation) {
		if o.kind == query {
			o.kind = mutation
		}
	}
}

// Internal: other operations of the node can call it, and nobody from outside.
func Internal() OperationOption { return func(o *operation) { o.internal = true } }

// Description is for people, and for assistants.
func Description(text string) OperationOption { return func(o *operation) { o.description = text } }

// Schema gives the JSON Schemas by hand; nil leaves what the type says.
func Schema(in, out json.RawMessage) OperationOption {
	return func(o *operation) { o.input, o.output = in, out }
}

// AccessRule says who may call. All that is given has to be true.
type AccessRule struct {
	RequiredScopes    []string // all of them
	RequiredScopesAny []string // one of them
	ResourceType      string   // who has ResourceAction, or the id at [ResourceID], among his resources of that type
	ResourceAction    string
	Authenticated     bool // any identity
}

// Access says who may call; without it everybody may.
func Access(rule AccessRule) OperationOption {
	return func(o *operation) {
		members := map[string]any{}
		if rule.RequiredScopes != nil {
			members["required_scopes"] = rule.RequiredScopes
		}
		if rule.RequiredScopesAny != nil {
			members["required_scopes_any"] = rule.RequiredScopesAny
		}
		if rule.ResourceType != "" {
			members["resource_type"] = rule.ResourceType
		}
		if rule.ResourceAction != "" {
			members["resource_action"] = rule.ResourceAction
		}
		if rule.Authenticated {
			members["authenticated"] = true
		}
		o.access = o.json(members)
	}
}

// ResourceID points at the id of the resource within the input (RFC 6901).
func ResourceID(pointer string) OperationOption {
	return func(o *operation) { o.resourceID = pointer }
}

// Authority is whom the handler acts as when it calls others ([Nested]). Its ID is a label, LABEL;
// others see the id "handler:LABEL".
func Authority(who Identity) OperationOption {
	return func(o *operation) {
		text, err := json.Marshal(who)
		o.wrong(err)
		var members map[string]json.RawMessage
		o.wrong(json.Unmarshal(text, &members))
		members["label"] = members["id"]
		delete(members, "id")
		o.authority = o.json(members)
	}
}

// Environment is what the handler may call: names such as "fs/read", or "fs/*".
func Environment(operations ...string) OperationOption {
	return func(o *operation) { o.allowed = append(o.allowed, operations...) }
}

// Pinned is what the handler may call of single peers: names such as "peer/fs/read".
func Pinned(operations ...string) OperationOption {
	return func(o *operation) { o.pinned = append(o.pinned, operations...) }
}

// ErrorSpec declares an error of an operation.
type ErrorSpec struct {
	Code        string
	Description string
	Details     any // a value of the type that CallError.Details has, or a json.RawMessage with its schema; nil: none
	HTTPStatus  int // 0: 500
}

// Errors declares how calls may fail. See [CallError] and [DomainError].
func Errors(specs ...ErrorSpec) OperationOption {
	return func(o *operation) {
		var list []map[string]any
		if o.errors != nil {
			o.wrong(json.Unmarshal(o.errors, &list))
		}
		for _, spec := range specs {
			entry := map[string]any{"code": spec.Code, "description": spec.Description, "schema": map[string]any{}}
			if spec.HTTPStatus != 0 {
				entry["http_status"] = spec.HTTPStatus
			}
			if raw, ok := spec.Details.(json.RawMessage); ok {
				entry["schema"] = raw
			} else if spec.Details != nil {
				entry["schema"] = o.derive(reflect.TypeOf(spec.Details), true)
			}
			o.declared[spec.Code] = true
			list = append(list, entry)
		}
		o.errors = o.json(list)
	}
}
