# syntax=docker/dockerfile:1
# Builds offline against the committed .sqlx; runs as a user of its own with an external Postgres (DATABASE_URL).
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
# Dependencies first, in a layer of their own.
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
RUN mkdir -p src benches \
    && echo 'fn main() {}' | tee src/main.rs > benches/accept.rs && touch src/lib.rs \
    && cargo fetch --locked
COPY . .
ENV SQLX_OFFLINE=true
RUN --network=none cargo build --release --locked --offline --bin smshook

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/smshook --create-home smshook
COPY --from=build /src/target/release/smshook /usr/local/bin/smshook
USER smshook
WORKDIR /var/lib/smshook
ENV SMSHOOK_CONFIG=/etc/smshook/config.toml \
    SMSHOOK_DATA_DIR=/var/lib/smshook \
    SMSHOOK_LOG=json
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["smshook", "healthcheck"]
ENTRYPOINT ["smshook"]
CMD ["serve"]
