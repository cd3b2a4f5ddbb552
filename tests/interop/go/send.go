package main

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

var sendChecks = []check{
	{"send_sync_with_properties", sendSync},
	{"send_async", sendAsync},
	{"send_one_way", sendOneWay},
	{"send_batch", sendBatch},
	{"send_compressed_body", sendCompressed},
	{"send_to_chosen_queue", sendToQueue},
	{"send_too_large", sendTooLarge},
}

func (s *scene) consumeAll(topic string, bodies map[string]bool) []*primitive.MessageExt {
	box := &inbox{}
	s.startedPush(s.group(), topic, box)
	box.awaitBodies(bodies)
	return box.all()
}

func sendSync(s *scene) {
	topic, first := s.topic()
	m := message(topic, "body ü")
	m.WithTag("TagA")
	m.WithKeys([]string{"key-1", "key-2"})
	m.WithProperty("city", "München")
	result := s.send(m)
	for _, received := range s.consumeAll(topic, merge(first, map[string]bool{"body ü": true})) {
		if string(received.Body) == "first" {
			continue
		}
		equal("message id", result.MsgID, received.MsgId)
		equal("tag", "TagA", received.GetTags())
		equal("keys", "key-1 key-2", received.GetKeys())
		equal("property", "München", received.GetProperty("city"))
		equal("queue offset", result.QueueOffset, received.QueueOffset)
		equal("topic", topic, received.Topic)
	}
}

func sendAsync(s *scene) {
	topic, bodies := s.topic()
	var answered, failed atomic.Int64
	for i := range 50 {
		body := fmt.Sprintf("async-%d", i)
		bodies[body] = true
		err := s.producer().SendAsync(context.Background(), func(_ context.Context, _ *primitive.SendResult, err error) {
			if err != nil {
				failed.Add(1)
			}
			answered.Add(1)
		}, message(topic, body))
		must(err, "async send")
	}
	await("50 callbacks", func() bool { return answered.Load() == 50 })
	equal("failed sends", int64(0), failed.Load())
	s.consumeAll(topic, bodies)
}

func sendOneWay(s *scene) {
	topic, bodies := s.topic()
	for i := range 20 {
		body := fmt.Sprintf("one-way-%d", i)
		bodies[body] = true
		must(s.producer().SendOneWay(context.Background(), message(topic, body)), "one-way send")
	}
	s.consumeAll(topic, bodies)
}

func sendBatch(s *scene) {
	topic, bodies := s.topic()
	var batch []*primitive.Message
	for i := range 30 {
		body := fmt.Sprintf("batch-%d", i)
		bodies[body] = true
		m := message(topic, body)
		m.WithTag("TagA")
		batch = append(batch, m)
	}
	result, err := s.producer().SendSync(context.Background(), batch...)
	must(err, "batch send")
	equal("send status", primitive.SendOK, result.Status)
	equal("offset ids", len(batch), len(strings.Split(result.OffsetMsgID, ",")))
	for _, received := range s.consumeAll(topic, bodies) {
		if string(received.Body) != "first" {
			equal("tag in a batch", "TagA", received.GetTags())
		}
	}
}

func sendCompressed(s *scene) {
	topic, bodies := s.topic()
	body := strings.Repeat("a line that repeats itself\n", 4000)
	bodies[body] = true
	s.send(message(topic, body))
	for _, received := range s.consumeAll(topic, bodies) {
		if len(received.Body) == len(body) && int(received.StoreSize) > len(body)/4 {
			fail("a body of %d bytes is stored in %d", len(body), received.StoreSize)
		}
	}
}

func sendToQueue(s *scene) {
	topic, bodies := s.topic()
	manual := s.newProducer(s.part("manual"), producer.WithQueueSelector(producer.NewManualQueueSelector()))
	queues, err := s.admin().FetchPublishMessageQueues(context.Background(), topic)
	must(err, "queues of the topic")
	for _, queue := range queues {
		m := message(topic, fmt.Sprintf("queue-%d", queue.QueueId))
		m.Queue = queue
		result, err := manual.SendSync(context.Background(), m)
		must(err, "send")
		equal("queue", queue.QueueId, result.MessageQueue.QueueId)
		bodies[string(m.Body)] = true
	}
	s.consumeAll(topic, bodies)
}

func sendTooLarge(s *scene) {
	topic, bodies := s.topic()
	quiet := s.newProducer(s.part("large"), producer.WithCompressMsgBodyOverHowmuch(1<<30), producer.WithRetry(0))
	_, err := quiet.SendSync(context.Background(), message(topic, strings.Repeat("x", 4*1024*1024+1)))
	if err == nil {
		fail("a body over 4 MiB was accepted")
	}
	s.consumeAll(topic, bodies)
}
