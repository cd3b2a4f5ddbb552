package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

var orderChecks = []check{
	{"order_kept_per_key", func(s *scene) { ordered(s, "") }},
	{"order_kept_when_suspended", func(s *scene) { ordered(s, "key-2:7") }},
}

// ordered sends eight keys with twenty messages each; a suspending message is refused once and must come again before
// anything else of its key.
func ordered(s *scene, suspending string) {
	topic, bodies := s.topic()
	hashing := s.newProducer(s.part("hashing"), producer.WithQueueSelector(producer.NewHashQueueSelector()))
	box := &inbox{}
	var once sync.Once
	made := s.push(s.group(), consumer.WithConsumerOrder(true))
	must(made.Subscribe(topic, allTags,
		func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			box.add(messages...)
			result := consumer.ConsumeSuccess
			if string(messages[0].Body) == suspending {
				once.Do(func() { result = consumer.SuspendCurrentQueueAMoment })
			}
			return result, nil
		}), "subscription")
	must(made.Start(), "start")
	for i := range 20 {
		for key := range 8 {
			body := fmt.Sprintf("key-%d:%d", key, i)
			m := message(topic, body)
			m.WithShardingKey(strconv.Itoa(key))
			result, err := hashing.SendSync(context.Background(), m)
			must(err, "send")
			equal("send status", primitive.SendOK, result.Status)
			bodies[body] = true
		}
	}
	box.awaitBodies(bodies)
	last := map[string]int{}
	for _, received := range box.all() {
		key, number, found := strings.Cut(string(received.Body), ":")
		if !found {
			continue
		}
		now, err := strconv.Atoi(number)
		must(err, "number of "+string(received.Body))
		if now > last[key]+1 {
			fail("%s: %d came right after %d", key, now, last[key])
		}
		last[key] = max(last[key], now)
	}
	repeated := 0
	if suspending != "" {
		repeated = 1
	}
	equal("deliveries", len(bodies)+repeated, len(box.all()))
}
