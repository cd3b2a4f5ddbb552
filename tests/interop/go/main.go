// Command judge runs the official Go client against a RocketMQ cluster and says what does not hold.
package main

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"sync"
	"time"
)

// check is a named statement about a cluster that must hold.
type check struct {
	name string
	body func(*scene)
}

const checkLimit = 120 * time.Second

func main() {
	namesrv := flag.String("namesrv", "", "host:port of the namesrv")
	only := flag.String("only", "", "run the checks whose name matches this regular expression")
	parallel := flag.Int("parallel", 8, "how many checks run side by side")
	flag.Parse()
	if *namesrv == "" {
		flag.Usage()
		os.Exit(2)
	}
	selected := selectChecks(regexp.MustCompile(*only))
	if len(selected) == 0 {
		fmt.Fprintln(os.Stderr, "no check matches", *only)
		os.Exit(2)
	}
	awaitCluster(*namesrv)

	var wait sync.WaitGroup
	var lock sync.Mutex
	failed := 0
	places := make(chan struct{}, *parallel)
	for _, c := range selected {
		wait.Add(1)
		go func() {
			defer wait.Done()
			places <- struct{}{}
			defer func() { <-places }()
			if !judge(c, *namesrv) {
				lock.Lock()
				failed++
				lock.Unlock()
			}
		}()
	}
	wait.Wait()
	fmt.Printf("%d passed, %d failed\n", len(selected)-failed, failed)
	if failed > 0 {
		os.Exit(1)
	}
}

func selectChecks(only *regexp.Regexp) []check {
	var selected []check
	groups := [][]check{retryChecks, transactionChecks, orderChecks, pushChecks, delayChecks, pullChecks, adminChecks, sendChecks}
	for _, group := range groups {
		for _, c := range group {
			if only.MatchString(c.name) {
				selected = append(selected, c)
			}
		}
	}
	return selected
}

// judge runs one check; a failure is a panic of type failure, anything else is a fault of the client or of the check.
func judge(c check, namesrv string) bool {
	begin := time.Now()
	s := newScene(c.name, namesrv)
	why := make(chan any, 1)
	go func() {
		defer func() { why <- recover() }()
		c.body(s)
	}()
	var reason any
	select {
	case reason = <-why:
	case <-time.After(checkLimit):
		reason = failure(fmt.Sprintf("not done after %s", checkLimit))
	}
	s.close()
	if reason != nil {
		fmt.Printf("FAIL %s: %v\n", c.name, reason)
		return false
	}
	fmt.Printf("PASS %s %.1fs\n", c.name, time.Since(begin).Seconds())
	return true
}
