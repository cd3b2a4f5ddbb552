package main

import (
	"context"

	"github.com/apache/rocketmq-client-go/v2/admin"
)

var adminChecks = []check{
	{"admin_create_and_delete_topic", adminTopic},
	{"admin_subscription_groups", adminGroups},
}

func adminTopic(s *scene) {
	broker := s.broker()
	tool := s.admin()
	topic := s.part("created")
	s.create(topic, 3)
	queues, err := tool.FetchPublishMessageQueues(context.Background(), topic)
	must(err, "queues")
	equal("queues", 3, len(queues))
	s.consumeAll(topic, s.sendMany(topic, "", "created", 6))
	list, err := tool.FetchAllTopicList(context.Background())
	must(err, "topic list")
	listed := false
	for _, name := range list.TopicList {
		listed = listed || name == topic
	}
	equal("topic is listed", true, listed)
	must(tool.DeleteTopic(context.Background(), admin.WithTopicDelete(topic), admin.WithBrokerAddrDelete(broker),
		admin.WithNameSrvAddr([]string{s.namesrv})), "delete topic")
	fresh := s.admin()
	if queues, err := fresh.FetchPublishMessageQueues(context.Background(), topic); err == nil && len(queues) > 0 {
		fail("a deleted topic still has %d queues", len(queues))
	}
}

func adminGroups(s *scene) {
	topic, bodies := s.topic()
	broker := s.broker()
	s.consumeAll(topic, bodies)
	groups, err := s.admin().GetAllSubscriptionGroup(context.Background(), broker, timeout)
	must(err, "subscription groups")
	if _, known := groups.SubscriptionGroupTable[s.group()]; !known {
		fail("group %s is not among %d", s.group(), len(groups.SubscriptionGroupTable))
	}
}
