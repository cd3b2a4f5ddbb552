package main

import (
	"context"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

var retryChecks = []check{
	{"retry_after_ten_seconds", func(s *scene) { retryOnce(s, 0, 10_000) }},
	{"retry_with_chosen_delay", func(s *scene) { retryOnce(s, 1, 1_000) }},
	{"retry_dead_letter", deadLetter},
}

func retryOnce(s *scene, delayLevel int, millis int64) {
	topic, _ := s.topic()
	group := s.group()
	s.createRetryTopic(group)
	box := &inbox{}
	made := s.push(group)
	must(made.Subscribe(topic, tagged("TagA"),
		func(ctx context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			box.add(messages...)
			if messages[0].ReconsumeTimes > 0 {
				return consumer.ConsumeSuccess, nil
			}
			if concurrently, ok := primitive.GetConcurrentlyCtx(ctx); ok {
				concurrently.DelayLevelWhenNextConsume = delayLevel
			}
			return consumer.ConsumeRetryLater, nil
		}), "subscription")
	must(made.Start(), "start")
	m := message(topic, "fails once")
	m.WithTag("TagA")
	m.WithKeys([]string{"key-1"})
	result := s.send(m)
	deliveries := box.awaitCount(2)
	first, again := deliveries[0], deliveries[1]
	equal("reconsume times", int32(1), again.ReconsumeTimes)
	equal("topic", topic, again.Topic)
	equal("message id", result.MsgID, again.MsgId)
	equal("body", "fails once", string(again.Body))
	equal("keys", "key-1", again.GetKeys())
	equal("origin message id", result.OffsetMsgID, again.GetProperty(primitive.PropertyOriginMessageId))
	if delay := again.StoreTimestamp - first.StoreTimestamp; delay < millis-100 {
		fail("redelivered after %d ms, expected %d", delay, millis)
	}
}

func deadLetter(s *scene) {
	topic, _ := s.topic()
	group := s.group()
	s.createRetryTopic(group)
	box := &inbox{}
	made := s.push(group, consumer.WithMaxReconsumeTimes(1))
	must(made.Subscribe(topic, tagged("TagA"),
		func(ctx context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			box.add(messages...)
			if concurrently, ok := primitive.GetConcurrentlyCtx(ctx); ok {
				concurrently.DelayLevelWhenNextConsume = 1
			}
			return consumer.ConsumeRetryLater, nil
		}), "subscription")
	must(made.Start(), "start")
	m := message(topic, "always fails")
	m.WithTag("TagA")
	result := s.send(m)
	letters := "%DLQ%" + group
	s.awaitRoute(letters)
	dead := &inbox{}
	s.startedPush(s.part("undertaker"), letters, dead)
	letter := dead.awaitCount(1)[0]
	equal("body", "always fails", string(letter.Body))
	equal("message id", result.MsgID, letter.MsgId)
	equal("deliveries before", 2, len(box.all()))
}
