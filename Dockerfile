# Farebox in a container: built in one stage, run in another as a user without rights.
#
#   docker build -t farebox .
#   docker run -v farebox:/var/lib/farebox -v ./farebox.toml:/etc/farebox/farebox.toml:ro -p 8402:8402 farebox
#
# The books are in /var/lib/farebox: give it a volume on a disk. Secrets come as files of mode 0600 that belong to user 10001.
FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends clang libclang-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --locked --release --bin farebox && strip target/release/farebox

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates libstdc++6 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --user-group --home-dir /var/lib/farebox --create-home --shell /usr/sbin/nologin farebox \
 && chmod 0700 /var/lib/farebox
COPY --from=build /src/target/release/farebox /usr/bin/farebox
COPY --from=build /src/LICENSE-MIT /src/LICENSE-APACHE /usr/share/doc/farebox/
USER 10001:10001
WORKDIR /var/lib/farebox
ENV FAREBOX__LEDGER__PATH=/var/lib/farebox/books \
    FAREBOX__SERVER__CHALLENGE_KEY_FILE=/var/lib/farebox/challenge.key
VOLUME /var/lib/farebox
EXPOSE 8402
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/farebox"]
CMD ["serve", "--config", "/etc/farebox/farebox.toml"]
