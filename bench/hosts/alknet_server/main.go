// An echo and a sum:  alknet_server TOKEN
//
// Prints its port and serves until it is killed.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	alknet "alknet.dev/alknet-go"
)

type payload struct {
	Text string `json:"text"`
}

type numbers struct {
	A int `json:"a"`
	B int `json:"b"`
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("alknet_server TOKEN")
	}
	node := alknet.NewNode(alknet.Options{Listen: []string{"127.0.0.1:0"}, Tokens: map[string]alknet.Identity{os.Args[1]: {}}})
	alknet.Handle(node, "demo/echo", func(_ context.Context, in payload) (payload, error) { return in, nil })
	alknet.Handle(node, "demo/add", func(_ context.Context, in numbers) (int, error) { return in.A + in.B, nil })
	if err := node.Start(context.Background()); err != nil {
		log.Fatal(err)
	}
	fmt.Println(node.Listening()[0].Port)
	<-node.Done()
}
