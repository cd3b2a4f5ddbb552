package main

import (
	"context"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

var pullChecks = []check{
	{"pull_from_every_queue", pullAll},
	{"pull_poll_and_ack", pullPoll},
	{"pull_offset_by_timestamp", pullByTime},
}

func (s *scene) pull(topic string) rocketmq.PullConsumer {
	made, err := rocketmq.NewPullConsumer(s.consumerOptions(s.group())...)
	must(err, "new pull consumer")
	must(made.Subscribe(topic, allTags), "subscription")
	must(made.Start(), "start of a pull consumer")
	s.onClose(func() { _ = made.Shutdown() })
	return made
}

func pullAll(s *scene) {
	topic, bodies := s.topic()
	bodies = merge(bodies, s.sendMany(topic, "", "pulled", 40))
	made := s.pull(topic)
	queues, err := made.GetTopicRouteInfo(topic)
	must(err, "route")
	got := map[string]bool{}
	for _, queue := range queues {
		for next := int64(0); ; {
			result, err := made.PullFrom(context.Background(), queue, next, 8)
			must(err, "pull")
			if result.Status != primitive.PullFound {
				equal("status at the end", primitive.PullNoNewMsg, result.Status)
				break
			}
			for _, found := range result.GetMessageExts() {
				got[string(found.Body)] = true
			}
			next = result.NextBeginOffset
			if next >= result.MaxOffset {
				break
			}
		}
	}
	equal("bodies", bodies, got)
}

func pullPoll(s *scene) {
	topic, bodies := s.topic()
	bodies = merge(bodies, s.sendMany(topic, "", "polled", 20))
	made := s.pull(topic)
	got := map[string]bool{}
	await("all polled messages", func() bool {
		request, err := made.Poll(context.Background(), time.Second)
		if err != nil {
			return false
		}
		for _, found := range request.GetMsgList() {
			got[string(found.Body)] = true
		}
		made.ACK(context.Background(), request, 0)
		return len(got) >= len(bodies)
	})
	equal("bodies", bodies, got)
}

func pullByTime(s *scene) {
	topic, _ := s.topic()
	made := s.pull(topic)
	queues, err := made.GetTopicRouteInfo(topic)
	must(err, "route")
	used := 0
	for _, queue := range queues {
		offset, err := made.OffsetForTimestamp(queue, time.Now().Add(time.Minute).UnixMilli())
		must(err, "offset by time")
		used += int(offset)
	}
	equal("messages up to now", 1, used)
}
