package main

import (
	"fmt"
	"reflect"
	"time"
)

// failure is what a check panics with when the cluster did something else than expected.
type failure string

const timeout = 60 * time.Second

func fail(format string, arguments ...any) {
	panic(failure(fmt.Sprintf(format, arguments...)))
}

func must(err error, what string) {
	if err != nil {
		fail("%s: %v", what, err)
	}
}

func equal(what string, expected, found any) {
	if !reflect.DeepEqual(expected, found) {
		fail("%s: expected %v, found %v", what, expected, found)
	}
}

// await asks until the condition holds, and fails with what it waited for when the timeout ends.
func await(what string, condition func() bool) {
	awaitFor(timeout, what, condition)
}

func awaitFor(limit time.Duration, what string, condition func() bool) {
	deadline := time.Now().Add(limit)
	for !condition() {
		if time.Now().After(deadline) {
			fail("waited %s for %s", limit, what)
		}
		time.Sleep(25 * time.Millisecond)
	}
}
