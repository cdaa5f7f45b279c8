// A caller:  alknet_client URL TOKEN TEXT IN_FLIGHT WARMUP SECONDS
package main

import (
	"context"
	"errors"
	"log"
	"os"

	alknet "alknet.dev/alknet-go"

	"bench/hosts/meter"
)

type payload struct {
	Text string `json:"text"`
}

func main() {
	if len(os.Args) != 7 {
		log.Fatal("alknet_client URL TOKEN TEXT IN_FLIGHT WARMUP SECONDS")
	}
	ctx, given := context.Background(), payload{os.Args[3]}
	conn, err := alknet.Dial(ctx, os.Args[1], alknet.Token(os.Args[2]))
	if err != nil {
		log.Fatal(err)
	}
	meter.Run(os.Args[4:], func() error {
		got, err := alknet.Call[payload](ctx, conn, "demo/echo", given)
		if err == nil && got != given {
			err = errors.New("a wrong answer")
		}
		return err
	})
}
