package alknet_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log"
	"time"

	alknet "alknet.dev/alknet-go"
)

type AddInput struct {
	A int `json:"a"`
	B int `json:"b"`
}

type AddOutput struct {
	Sum int `json:"sum"`
}

func add(ctx context.Context, in AddInput) (AddOutput, error) {
	return AddOutput{in.A + in.B}, nil
}

const token = "alk_token_of_the_examples"

// demo is what the examples call.
func demo() *alknet.Node {
	node := alknet.NewNode(alknet.Options{
		Listen: []string{"127.0.0.1:0"},
		Tokens: map[string]alknet.Identity{token: {Scopes: []string{"demo:read"}}},
	})
	alknet.Handle(node, "demo/add", add)
	alknet.HandleStream(node, "demo/count", countTo)
	if err := node.Start(context.Background()); err != nil {
		log.Fatal(err)
	}
	return node
}

func countTo(ctx context.Context, to int) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		for i := range to {
			if !yield(i, nil) {
				return // the caller has left, or its connection is lost
			}
		}
	}
}

func Example() {
	node := alknet.NewNode(alknet.Options{Listen: []string{"127.0.0.1:0"}})
	alknet.Handle(node, "demo/add", add)
	if err := node.Start(context.Background()); err != nil {
		log.Fatal(err)
	}
	defer node.Stop(context.Background())

	out, err := alknet.Call[AddOutput](context.Background(), node, "demo/add", AddInput{1, 2})
	fmt.Println(out.Sum, err)
	// Output: 3 <nil>
}

func ExampleDial() {
	server := demo()
	defer server.Stop(context.Background())
	url := fmt.Sprintf("ws://127.0.0.1:%d", server.Listening()[0].Port)

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := alknet.Dial(ctx, url, alknet.Token(token))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	out, err := alknet.Call[AddOutput](ctx, conn, "demo/add", AddInput{1, 2})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(out.Sum)
	// Output: 3
}

func ExampleSubscribe() {
	conn := demo()
	defer conn.Stop(context.Background())
	ctx := context.Background()

	for v, err := range alknet.Subscribe[int](ctx, conn, "demo/count", 1_000_000) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(v)
		if v == 2 {
			break // aborts the subscription
		}
	}
	// Output:
	// 0
	// 1
	// 2
}

type NotEnough struct {
	Missing int `json:"missing"`
}

func pay(ctx context.Context, amount int) (string, error) {
	if amount > 100 {
		return "", &alknet.CallError{
			Code:    "NOT_ENOUGH",
			Message: "the account has not enough",
			Details: fmt.Appendf(nil, `{"missing":%d}`, amount-100),
		}
	}
	return "paid", nil
}

func ExampleErrors() {
	node := alknet.NewNode(alknet.Options{})
	alknet.Handle(node, "account/pay", pay, alknet.Mutation(),
		alknet.Errors(alknet.ErrorSpec{Code: "NOT_ENOUGH", HTTPStatus: 409, Details: NotEnough{}}))
	if err := node.Start(context.Background()); err != nil {
		log.Fatal(err)
	}
	defer node.Stop(context.Background())
	ctx := context.Background()

	_, err := alknet.Call[string](ctx, node, "account/pay", 142)
	var fault *alknet.CallError
	if errors.As(err, &fault) && fault.Code == "NOT_ENOUGH" {
		fmt.Println(fault.Message, string(fault.Details))
	}
	// Output: the account has not enough {"missing":42}
}

func ExampleNested() {
	node := alknet.NewNode(alknet.Options{})
	alknet.Handle(node, "files/read", func(ctx context.Context, name string) (string, error) {
		return fmt.Sprintf("%s, read by %s for %s", name, alknet.Info(ctx).Identity.ID, alknet.Info(ctx).Originator.ID), nil
	}, alknet.Access(alknet.AccessRule{RequiredScopes: []string{"files:read"}}))
	alknet.Handle(node, "report/write", func(ctx context.Context, name string) (string, error) {
		return alknet.Call[string](ctx, alknet.Nested, "files/read", name)
	}, alknet.Authority(alknet.Identity{ID: "reporter", Scopes: []string{"files:read"}}), alknet.Environment("files/*"))
	if err := node.Start(context.Background()); err != nil {
		log.Fatal(err)
	}
	defer node.Stop(context.Background())
	ctx := context.Background()

	out, err := alknet.Call[string](ctx, node, "report/write", "a.txt", alknet.As(alknet.Identity{ID: "ada"}))
	fmt.Println(out, err)
	// Output: a.txt, read by handler:reporter for ada <nil>
}
