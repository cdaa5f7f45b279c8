// A caller on grpc-go:  grpc_client PORT IN_FLIGHT WARMUP SECONDS BYTES
package main

import (
	"bytes"
	"context"
	"errors"
	"log"
	"os"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"bench/hosts/echo"
	"bench/hosts/meter"
)

func main() {
	if len(os.Args) != 6 {
		log.Fatal("grpc_client PORT IN_FLIGHT WARMUP SECONDS BYTES")
	}
	size, err := strconv.Atoi(os.Args[5])
	if err != nil {
		log.Fatal(err)
	}
	conn, err := grpc.NewClient("127.0.0.1:"+os.Args[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	client := echo.NewEchoClient(conn)
	request := &echo.Payload{Data: bytes.Repeat([]byte("x"), size)}
	meter.Run(os.Args[2:5], func() error {
		reply, err := client.Call(context.Background(), request)
		if err == nil && !bytes.Equal(reply.Data, request.Data) {
			err = errors.New("a wrong answer")
		}
		return err
	})
}
