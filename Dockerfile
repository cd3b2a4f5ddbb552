# The image of every process: one static program and nothing else. No shell, no package, not root; the root file system may be read-only.
#
#   docker build -t rocketmq .
#
# A static-pie glibc program resolves names by /etc/resolv.conf. Volumes become writable through the pod's fsGroup.
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN target="$(rustc -vV | sed -n 's/^host: //p')" \
 && RUSTFLAGS="-C target-feature=+crt-static" cargo build --profile dist --locked --package rocketmq --target "$target" \
 && strip --strip-debug -o /rocketmq "target/$target/dist/rocketmq" \
 && mkdir -p /root-fs/etc && mkdir -m 1777 /root-fs/tmp && cp /rocketmq /root-fs/rocketmq \
 && printf 'root:x:0:0:root:/:/sbin/nologin\nrocketmq:x:1000:1000:rocketmq:/:/sbin/nologin\n' > /root-fs/etc/passwd

FROM scratch
COPY --from=build /root-fs/ /
USER 1000:1000
ENTRYPOINT ["/rocketmq"]
