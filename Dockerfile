# The static binary and nothing else; see deploy/ and README.md for how to run it.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /sereno ./cmd/sereno

FROM scratch
COPY --from=build /sereno /sereno
USER 65532:65532
ENTRYPOINT ["/sereno"]
CMD ["run", "-c", "/etc/sereno/sereno.yaml"]
