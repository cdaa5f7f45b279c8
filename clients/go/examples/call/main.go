package main // calls the operations of examples/serve, by the same $ALKNET_TOKEN:  call [ws://127.0.0.1:4780]

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	alknet "alknet.dev/alknet-go"
)

func main() {
	url := "ws://127.0.0.1:4780"
	if len(os.Args) > 1 {
		url = os.Args[1]
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := alknet.Dial(ctx, url, alknet.Token(os.Getenv("ALKNET_TOKEN")))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()

	out, err := alknet.Call[struct{ Sum int }](ctx, conn, "demo/add", map[string]int{"a": 1, "b": 2})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("sum", out.Sum)

	ticks := 0
	for now, err := range alknet.Subscribe[time.Time](ctx, conn, "demo/clock", map[string]int{"every_ms": 10}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("tick", now.Year() > 2000)
		if ticks++; ticks == 3 {
			break // ends the subscription over there
		}
	}
}
