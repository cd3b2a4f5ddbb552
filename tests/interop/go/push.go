package main

import (
	"fmt"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
)

var pushChecks = []check{
	{"push_clustering_shares_messages", pushClustering},
	{"push_broadcasting", pushBroadcasting},
	{"push_tag_filter", pushTags},
	{"push_sql_filter", pushSQL},
	{"push_long_poll_wakes", pushLongPoll},
	{"push_offset_kept_across_restart", pushRestart},
}

func pushClustering(s *scene) {
	topic, bodies := s.topic()
	first, second := &inbox{}, &inbox{}
	s.startedPush(s.group(), topic, first)
	s.startedPush(s.group(), topic, second)
	// Which member holds what is the client's secret, so messages go on until both have got some.
	for round := 0; len(second.all()) == 0 || len(first.all()) == 0; round++ {
		if round == 100 {
			fail("after 100 rounds one of two members got nothing: %d and %d", len(first.all()), len(second.all()))
		}
		bodies = merge(bodies, s.sendMany(topic, "", fmt.Sprintf("round-%02d", round), 8))
		time.Sleep(100 * time.Millisecond)
	}
	bodies = merge(bodies, s.sendMany(topic, "", "shared", 40))
	await("all messages", func() bool { return len(merge(first.bodies(), second.bodies())) == len(bodies) })
	equal("bodies", bodies, merge(first.bodies(), second.bodies()))
}

func pushBroadcasting(s *scene) {
	topic, _ := s.topic()
	first, second := &inbox{}, &inbox{}
	s.startedPush(s.group(), topic, first, consumer.WithConsumerModel(consumer.BroadCasting))
	s.startedPush(s.group(), topic, second, consumer.WithConsumerModel(consumer.BroadCasting))
	bodies := merge(map[string]bool{"first": true}, s.sendMany(topic, "", "all", 20))
	first.awaitBodies(bodies)
	second.awaitBodies(bodies)
}

func pushTags(s *scene) {
	topic, _ := s.topic()
	wanted := merge(s.sendMany(topic, "TagA", "a", 10), s.sendMany(topic, "TagC", "c", 10))
	s.sendMany(topic, "TagB", "b", 10)
	box := &inbox{}
	made := s.push(s.group())
	must(made.Subscribe(topic, tagged("TagA || TagC"), box.take), "subscription")
	must(made.Start(), "start")
	box.awaitBodies(wanted)
	s.sendMany(topic, "TagB", "later-b", 5)
	box.awaitBodies(merge(wanted, s.sendMany(topic, "TagA", "later-a", 5)))
}

func pushSQL(s *scene) {
	topic, _ := s.topic()
	send := func(prefix string) map[string]bool {
		wanted := map[string]bool{}
		for i := range 20 {
			m := message(topic, fmt.Sprintf("%s-%02d", prefix, i))
			m.WithProperty("n", fmt.Sprint(i))
			s.send(m)
			if i >= 5 && i < 15 && i != 7 {
				wanted[string(m.Body)] = true
			}
		}
		return wanted
	}
	wanted := send("before")
	box := &inbox{}
	made := s.push(s.group())
	selector := consumer.MessageSelector{Type: consumer.SQL92, Expression: "n BETWEEN 5 AND 14 AND n <> 7"}
	must(made.Subscribe(topic, selector, box.take), "subscription")
	must(made.Start(), "start")
	box.awaitBodies(wanted)
	// Now its pulls wait at the ends of the queues.
	box.awaitBodies(merge(wanted, send("later")))
}

func pushLongPoll(s *scene) {
	topic, _ := s.topic()
	box := &inbox{}
	s.startedPush(s.group(), topic, box)
	box.awaitCount(1)
	for i := range 5 {
		begin := time.Now()
		s.sendMany(topic, "", fmt.Sprintf("poll-%d", i), 1)
		box.awaitCount(i + 2)
		if waited := time.Since(begin); waited > 4*time.Second {
			fail("a waiting consumer got a message only after %s", waited)
		}
	}
}

func pushRestart(s *scene) {
	topic, bodies := s.topic()
	before := &inbox{}
	made := s.startedPush(s.group(), topic, before)
	before.awaitBodies(merge(bodies, s.sendMany(topic, "", "before", 20)))
	await("offsets of all deliveries", func() bool { return made.GetOffsetDiffMap()[topic] == 0 })
	must(made.Shutdown(), "shutdown")
	later := s.sendMany(topic, "", "after", 20)
	after := &inbox{}
	s.startedPush(s.group(), topic, after)
	after.awaitBodies(later)
}
