# shellcheck shell=bash
# Starting servers and judges, for scripts that have a folder $work. To be sourced.

server_jvm() { # build folder class arguments: a Java server with a home of its own
    local lib=$1/target/lib folder=$2; shift 2
    ROCKETMQ_HOME=$folder exec java -Xms256m -Xmx768m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
        -XX:MaxDirectMemorySize=1g -Duser.home="$folder" \
        --add-opens=java.base/{java.lang,java.util,java.nio,sun.nio.ch,java.net,java.math}=ALL-UNNAMED \
        --add-exports=java.base/{sun.nio.ch,jdk.internal.ref}=ALL-UNNAMED -cp "$lib/*" "$@"
}

judge_jvm() ( # build class arguments: in a folder of its own, for the admin tool leaves files where it runs
    local build=$1; shift
    cd "$work/client" || return
    exec java -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Duser.home="$work/client" \
        -Djava.io.tmpdir="$work/client" -Drocketmq.client.logLevel=WARN -Drocketmq.log.level=warn \
        -cp "$build/target/*:$build/target/lib/*" "$@"
)

is_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

free_port() { # count: the first of so many neighbouring free ports
    local base port
    for _ in {1..200}; do
        base=$((RANDOM % 20000 + 12000))
        for ((port = base; port < base + $1; port++)); do
            is_open "$port" && continue 2
        done
        echo "$base"
        return
    done
    echo "no free ports" >&2
    exit 1
}

await_port() { # port name pid: the output of NAME is in $work/NAME/out
    local end=$((SECONDS + 60))
    until is_open "$1"; do
        if ! kill -0 "$3" 2>/dev/null || ((SECONDS > end)); then
            echo "$2 does not listen on port $1:" >&2
            tail -20 "$work/$2/out" >&2
            return 1
        fi
        sleep 0.1
    done
}
