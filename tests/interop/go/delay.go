package main

import "fmt"

var delayChecks = []check{{"delay_levels_one_and_two", delayLevels}}

func delayLevels(s *scene) {
	topic, bodies := s.topic()
	least := map[string]int64{"level-1": 1_000, "level-2": 5_000}
	for level := 2; level >= 1; level-- {
		m := message(topic, fmt.Sprintf("level-%d", level))
		m.WithDelayTimeLevel(level)
		s.send(m)
		bodies[string(m.Body)] = true
	}
	for _, received := range s.consumeAll(topic, bodies) {
		if delay := received.StoreTimestamp - received.BornTimestamp; delay < least[string(received.Body)]-100 {
			fail("%s came after %d ms", received.Body, delay)
		}
	}
}
