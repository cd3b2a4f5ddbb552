module rmq-tests/pause

go 1.26.0
