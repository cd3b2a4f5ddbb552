package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/admin"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

var (
	run     = strconv.FormatInt(time.Now().UnixMilli()%1_000_000_000, 36)
	clients atomic.Int64
)

// scene is what one check works with: names nobody else uses, and clients that are shut down when it ends.
type scene struct {
	name     string
	namesrv  string
	lock     sync.Mutex
	cleanups []func()
	sender   rocketmq.Producer
	address  string
}

func newScene(name, namesrv string) *scene {
	return &scene{name: name, namesrv: namesrv}
}

func (s *scene) close() {
	s.lock.Lock()
	defer s.lock.Unlock()
	for i := len(s.cleanups) - 1; i >= 0; i-- {
		s.cleanups[i]()
	}
	s.cleanups = nil
}

func (s *scene) onClose(cleanup func()) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.cleanups = append(s.cleanups, cleanup)
}

// part gives a name for a topic or group: the check's, the run's and the part's.
func (s *scene) part(name string) string {
	return fmt.Sprintf("go_%s-%s-%s", s.name, run, name)
}

func (s *scene) group() string {
	return s.part("group")
}

func (s *scene) instance() string {
	return s.part("client" + strconv.FormatInt(clients.Add(1), 10))
}

// producer is what this scene sends with when it does not matter how. Unknown topics get four queues.
func (s *scene) producer() rocketmq.Producer {
	if s.sender == nil {
		s.sender = s.newProducer(s.part("producer"))
	}
	return s.sender
}

func (s *scene) newProducer(group string, options ...producer.Option) rocketmq.Producer {
	options = append([]producer.Option{
		producer.WithNameServer([]string{s.namesrv}),
		producer.WithGroupName(group),
		producer.WithInstanceName(s.instance()),
		producer.WithSendMsgTimeout(10 * time.Second),
		producer.WithRetry(2),
	}, options...)
	made, err := rocketmq.NewProducer(options...)
	must(err, "new producer")
	must(made.Start(), "start of a producer")
	s.onClose(func() { _ = made.Shutdown() })
	return made
}

func (s *scene) push(group string, options ...consumer.Option) rocketmq.PushConsumer {
	made, err := rocketmq.NewPushConsumer(append(s.consumerOptions(group), options...)...)
	must(err, "new push consumer")
	s.onClose(func() { _ = made.Shutdown() })
	return made
}

func (s *scene) consumerOptions(group string) []consumer.Option {
	return []consumer.Option{
		consumer.WithNameServer([]string{s.namesrv}),
		consumer.WithGroupName(group),
		consumer.WithInstance(s.instance()),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
	}
}

var allTags = consumer.MessageSelector{Type: consumer.TAG, Expression: "*"}

func tagged(expression string) consumer.MessageSelector {
	return consumer.MessageSelector{Type: consumer.TAG, Expression: expression}
}

func (s *scene) startedPush(group, topic string, box *inbox, options ...consumer.Option) rocketmq.PushConsumer {
	made := s.push(group, options...)
	must(made.Subscribe(topic, allTags, box.take), "subscription")
	must(made.Start(), "start of a push consumer")
	return made
}

// topic makes a new topic with four queues on one broker and sends its first message; gives its name and the body of
// that message.
func (s *scene) topic() (string, map[string]bool) {
	name := s.part("topic" + strconv.FormatInt(clients.Add(1), 10))
	s.create(name, 4)
	s.send(message(name, "first"))
	return name, map[string]bool{"first": true}
}

func (s *scene) create(topic string, queues int) {
	must(s.admin().CreateTopic(context.Background(), admin.WithTopicCreate(topic), admin.WithBrokerAddrCreate(s.broker()),
		admin.WithReadQueueNums(queues), admin.WithWriteQueueNums(queues)), "creation of topic "+topic)
	s.awaitRoute(topic)
}

func (s *scene) admin() admin.Admin {
	made, err := admin.NewAdmin(admin.WithResolver(primitive.NewPassthroughResolver([]string{s.namesrv})))
	must(err, "new admin")
	s.onClose(func() { _ = made.Close() })
	return made
}

func (s *scene) awaitRoute(topic string) {
	tool := s.admin()
	await("a route of "+topic, func() bool {
		queues, err := tool.FetchPublishMessageQueues(context.Background(), topic)
		return err == nil && len(queues) > 0
	})
}

func (s *scene) send(message *primitive.Message) *primitive.SendResult {
	result, err := s.producer().SendSync(context.Background(), message)
	must(err, "send")
	equal("send status", primitive.SendOK, result.Status)
	return result
}

// sendMany sends so many messages and gives their bodies.
func (s *scene) sendMany(topic, tag, prefix string, count int) map[string]bool {
	bodies := map[string]bool{}
	for i := range count {
		body := fmt.Sprintf("%s-%04d", prefix, i)
		m := message(topic, body)
		if tag != "" {
			m.WithTag(tag)
		}
		s.send(m)
		bodies[body] = true
	}
	return bodies
}

// createRetryTopic makes the group's retry topic, as it is for any group that has run before: a client looks for the
// route of a topic that was unknown at its start only every 30 s.
func (s *scene) createRetryTopic(group string) {
	s.create("%RETRY%"+group, 1)
}

// broker gives the address of a broker, found in the id of a message that it stored: the first to an unknown topic,
// which the broker creates by itself. One check always gets the same.
func (s *scene) broker() string {
	if s.address == "" {
		s.address = brokerOf(s.send(message(s.part("broker"), "where are you?")))
	}
	return s.address
}

func message(topic, body string) *primitive.Message {
	return primitive.NewMessage(topic, []byte(body))
}

func merge(sets ...map[string]bool) map[string]bool {
	all := map[string]bool{}
	for _, set := range sets {
		for body := range set {
			all[body] = true
		}
	}
	return all
}

// brokerOf reads the broker's address out of an offset message id: ip, port in four bytes, offset in eight.
func brokerOf(result *primitive.SendResult) string {
	bytes, err := hex.DecodeString(result.OffsetMsgID)
	must(err, "offset message id "+result.OffsetMsgID)
	if len(bytes) != 16 && len(bytes) != 28 {
		fail("offset message id %s has %d bytes", result.OffsetMsgID, len(bytes))
	}
	host := net.IP(bytes[:len(bytes)-12]).String()
	port := int(bytes[len(bytes)-10])<<8 | int(bytes[len(bytes)-9])
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// awaitCluster waits until a broker is registered.
func awaitCluster(namesrv string) {
	s := newScene("ready", namesrv)
	defer s.close()
	tool := s.admin()
	await("a registered broker", func() bool {
		list, err := tool.FetchAllTopicList(context.Background())
		return err == nil && len(list.TopicList) > 0
	})
}
