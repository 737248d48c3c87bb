# The relay alone: a static binary and the authorities it trusts. docs/packages.md tells how to run
# it: it needs packaging/docker/seccomp.json, or another way to io_uring.
#
#     docker build -t ringrelay .

ARG RUST=1.95
FROM docker.io/library/rust:${RUST}-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates gcc libc6-dev \
    && mkdir /state
WORKDIR /src
COPY . .
# Naming the target keeps build scripts, which are not static, apart.
RUN host=$(rustc -vV | sed -n 's/^host: //p') \
    && RUSTFLAGS='-C target-feature=+crt-static' \
        cargo build --locked --release --package ringrelay --target "$host" \
    && strip --strip-debug -o /ringrelay "target/$host/release/ringrelay"

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /ringrelay /usr/bin/ringrelay
COPY --from=build --chown=65532:65532 /state /var/lib/ringrelay
USER 65532:65532
WORKDIR /var/lib/ringrelay
VOLUME /var/lib/ringrelay
EXPOSE 8089/udp 9096/tcp 9097/tcp
ENTRYPOINT ["/usr/bin/ringrelay"]
CMD ["-config", "/etc/ringrelay/ringrelay.toml"]
