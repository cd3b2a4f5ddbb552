package main

import (
	"context"
	"fmt"
	"sync"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// inbox holds messages in the order in which consumers got them.
type inbox struct {
	lock     sync.Mutex
	messages []*primitive.MessageExt
}

func (i *inbox) add(messages ...*primitive.MessageExt) {
	i.lock.Lock()
	defer i.lock.Unlock()
	i.messages = append(i.messages, messages...)
}

func (i *inbox) all() []*primitive.MessageExt {
	i.lock.Lock()
	defer i.lock.Unlock()
	return append([]*primitive.MessageExt(nil), i.messages...)
}

func (i *inbox) bodies() map[string]bool {
	bodies := map[string]bool{}
	for _, message := range i.all() {
		bodies[string(message.Body)] = true
	}
	return bodies
}

// take is a listener that accepts everything.
func (i *inbox) take(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
	i.add(messages...)
	return consumer.ConsumeSuccess, nil
}

func (i *inbox) awaitCount(count int) []*primitive.MessageExt {
	await(fmt.Sprintf("%d messages", count), func() bool { return len(i.all()) >= count })
	return i.all()
}

// awaitBodies waits until all of these are here and fails on one that nobody sent.
func (i *inbox) awaitBodies(expected map[string]bool) {
	await(fmt.Sprintf("%d bodies", len(expected)), func() bool {
		got := i.bodies()
		for body := range expected {
			if !got[body] {
				return false
			}
		}
		return true
	})
	equal("bodies", expected, i.bodies())
}
