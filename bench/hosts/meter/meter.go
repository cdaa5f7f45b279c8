// Package meter measures callers in Go: so many goroutines, each of which makes one call after the other. It prints the line of load.h, and what it has
// cost this process per call, in CPU time of all its threads.
package meter

import (
	"encoding/json"
	"log"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

func number(text string) float64 {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		log.Fatal(err)
	}
	return v
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		log.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func at(sorted []time.Duration, part float64) float64 {
	return float64(sorted[int(part*float64(len(sorted)))].Nanoseconds()) / 1000
}

// Run takes IN_FLIGHT WARMUP SECONDS; call makes a call and looks at what it is answered with.
func Run(args []string, call func() error) {
	inFlight, seconds := int(number(args[0])), number(args[2])
	if err := call(); err != nil {
		log.Fatal(err)
	}
	before, begun := cpu(), time.Now()
	begin := begun.Add(time.Duration(number(args[1]) * float64(time.Second)))
	end := begin.Add(time.Duration(seconds * float64(time.Second)))
	latencies, totals := make([][]time.Duration, inFlight), make([]int, inFlight)
	var callers sync.WaitGroup
	for i := range inFlight {
		callers.Add(1)
		go func() {
			defer callers.Done()
			for sent := time.Now(); sent.Before(end); {
				if err := call(); err != nil {
					log.Fatal(err)
				}
				now := time.Now()
				totals[i]++
				if !now.Before(begin) && now.Before(end) {
					latencies[i] = append(latencies[i], now.Sub(sent))
				}
				sent = now
			}
		}()
	}
	callers.Wait()
	used, took := cpu()-before, time.Since(begun)
	all, total := slices.Concat(latencies...), 0
	slices.Sort(all)
	for _, n := range totals {
		total += n
	}
	json.NewEncoder(os.Stdout).Encode(map[string]any{
		"calls": len(all), "total": total, "rate": float64(len(all)) / seconds, "p50_us": at(all, 0.5), "p99_us": at(all, 0.99),
		"cpu_us": float64(used.Nanoseconds()) / 1000 / float64(total), "busy": used.Seconds() / took.Seconds(),
	})
}
