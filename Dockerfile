# The static binary in an otherwise empty root file system, made by deploy/package; deploy/README.md says how to run it.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION
ARG COMMIT
ARG DATE
RUN VERSION=$VERSION COMMIT=$COMMIT DATE=$DATE deploy/package rootfs /rootfs
# COPY gives an owner to what it makes only: a directory that is there already would stay root's.
RUN rmdir /rootfs/var/lib/sereno /rootfs/run/sereno && mkdir /empty

FROM scratch
COPY --from=build /rootfs/ /
COPY --from=build --chown=65532:65532 /empty /var/lib/sereno
COPY --from=build --chown=65532:65532 /empty /run/sereno
LABEL org.opencontainers.image.title="sereno" \
      org.opencontainers.image.description="Load balancer and cache for an ISP's DNS and RADIUS, with anycast" \
      org.opencontainers.image.licenses="Apache-2.0"
USER 65532:65532
VOLUME ["/var/lib/sereno"]
EXPOSE 53/udp 53/tcp 1812/udp 1813/udp 8053/tcp
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["/sereno", "status", "--check"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/sereno"]
CMD ["run", "-c", "/etc/sereno/sereno.yaml"]
