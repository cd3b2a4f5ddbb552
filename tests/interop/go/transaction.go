package main

import (
	"context"
	"strings"
	"sync"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

var transactionChecks = []check{{"transaction_outcomes_and_questions", transactions}}

// local answers by the first word of a body: "unknown" ones are committed when they are asked for.
type local struct {
	lock  sync.Mutex
	asked []string
}

func (l *local) ExecuteLocalTransaction(message *primitive.Message) primitive.LocalTransactionState {
	switch word, _, _ := strings.Cut(string(message.Body), " "); word {
	case "commit":
		return primitive.CommitMessageState
	case "rollback":
		return primitive.RollbackMessageState
	}
	return primitive.UnkonwnState
}

func (l *local) CheckLocalTransaction(message *primitive.MessageExt) primitive.LocalTransactionState {
	l.lock.Lock()
	defer l.lock.Unlock()
	l.asked = append(l.asked, string(message.Body))
	return primitive.CommitMessageState
}

func transactions(s *scene) {
	topic, bodies := s.topic()
	listener := &local{}
	made, err := rocketmq.NewTransactionProducer(listener,
		producer.WithNameServer([]string{s.namesrv}),
		producer.WithGroupName(s.part("transactions")),
		producer.WithInstanceName(s.instance()))
	must(err, "new transaction producer")
	must(made.Start(), "start of a transaction producer")
	s.onClose(func() { _ = made.Shutdown() })
	for _, body := range []string{"rollback 1", "commit 1", "unknown 1", "commit 2"} {
		result, err := made.SendMessageInTransaction(context.Background(), message(topic, body))
		must(err, "transaction "+body)
		equal("status", primitive.SendOK, result.Status)
		bodies[body] = !strings.HasPrefix(body, "rollback")
	}
	delete(bodies, "rollback 1")
	s.consumeAll(topic, bodies)
	listener.lock.Lock()
	defer listener.lock.Unlock()
	equal("questions", []string{"unknown 1"}, listener.asked)
}
