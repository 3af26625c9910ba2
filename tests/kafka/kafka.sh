#!/usr/bin/env bash
# One Apache Kafka broker for tests, benchmarks and the demo: KRaft, broker and controller in one process, on loopback.
#
#   kafka.sh fetch             get the jars and compile the outside client, once
#   kafka.sh run DIR           format DIR if it is new, then become the broker (foreground; its pid is this script's)
#   kafka.sh start DIR         the same in the background; returns when it is ready and prints its address
#   kafka.sh stop DIR          stop it by its pid and wait until it is gone (data stays)
#   kafka.sh with COMMAND...   start a broker in a directory of its own, run COMMAND with its address in
#                              MILLSTREAM_TEST_KAFKA, and leave nothing behind, whatever happens
#   kafka.sh classpath         print the class path of broker and client
#
# MILLSTREAM_CACHE  jars                                        (default: $HOME/.cache/millstream)
# KAFKA_PORT        port of the broker                          (default: a free one, kept for DIR)
# KAFKA_PROXIED     more listeners, "PORT=ADVERTISED ...": clients that come to PORT are sent to ADVERTISED
# KAFKA_SECURED     port of a listener with TLS and SASL/PLAIN; its certificate is DIR/ca.pem. Who comes that way may do
#                   what ACLs allow, everybody else anything  (default: none)
# KAFKA_USERS       "NAME:PASSWORD ..." for that listener
# KAFKA_HEAP        -Xms and -Xmx                               (default: 512m)
# KAFKA_PROPERTIES  more lines for server.properties
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${MILLSTREAM_CACHE:-$HOME/.cache/millstream}
lib=$cache/kafka-lib
client=$cache/kafka-client
ready='Kafka Server started'

fail() { echo "kafka.sh: $*" >&2; exit 1; }

fetch() {
  mkdir -p "$cache"
  # Two test runs may start at once; the second waits and finds everything there.
  exec 9>"$cache/kafka.lock"
  flock 9
  if ! cmp -s "$here/pom.xml" "$lib/.pom.xml"; then
    command -v mvn >/dev/null || fail "mvn is missing: run tests/setup.sh"
    rm -rf "$lib"
    mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$lib" >&2 </dev/null ||
      fail "maven could not fetch the jars that $here/pom.xml lists"
    cp "$here/pom.xml" "$lib/.pom.xml"
  fi
  if ! cat "$here/client/"*.java | cmp -s - "$client/.sources"; then
    rm -rf "$client"
    javac -cp "$lib/*" -d "$client" "$here/client/"*.java >&2 || fail "the outside client does not compile"
    cat "$here/client/"*.java >"$client/.sources"
  fi
  exec 9>&-
}

# A port nobody listens on, from below the kernel's ephemeral range: a client that keeps trying to reach a stopped broker
# on an ephemeral port of loopback will sooner or later connect to itself, and the broker cannot come back.
free_port() {
  python3 - <<'PY'
import random, socket
while True:
    port = random.randrange(12000, 30000)
    with socket.socket() as s:
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            continue
    print(port)
    break
PY
}

# The properties of a listener with TLS and SASL/PLAIN, and what they name.
secured() {
  local dir=$1 entry users=
  [ -n "${KAFKA_SECURED:-}" ] || return 0
  keytool -genkeypair -alias broker -keyalg EC -groupname secp256r1 -dname CN=localhost -ext SAN=ip:127.0.0.1,dns:localhost \
    -keystore "$dir/tls.p12" -storetype PKCS12 -storepass certificate >&2
  keytool -exportcert -rfc -alias broker -keystore "$dir/tls.p12" -storepass certificate -file "$dir/ca.pem" >&2
  for entry in ${KAFKA_USERS:-}; do users+=" user_${entry%%:*}=\"${entry#*:}\""; done
  cat <<P
listener.name.secured.ssl.keystore.location=$dir/tls.p12
listener.name.secured.ssl.keystore.type=PKCS12
listener.name.secured.ssl.keystore.password=certificate
listener.name.secured.sasl.enabled.mechanisms=PLAIN
listener.name.secured.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required$users;
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
P
}

configure() {
  local dir=$1 port ctl listeners advertised map entry n=0
  port=${KAFKA_PORT:-$(free_port)}
  ctl=$(free_port)
  listeners=PLAINTEXT://127.0.0.1:$port
  advertised=$listeners
  map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
  for entry in ${KAFKA_PROXIED:-}; do
    n=$((n + 1))
    listeners+=,PROXIED$n://127.0.0.1:${entry%%=*}
    advertised+=,PROXIED$n://127.0.0.1:${entry##*=}
    map+=,PROXIED$n:PLAINTEXT
  done
  if [ -n "${KAFKA_SECURED:-}" ]; then
    listeners+=,SECURED://127.0.0.1:$KAFKA_SECURED
    advertised+=,SECURED://127.0.0.1:$KAFKA_SECURED
    map+=,SECURED:SASL_SSL
  fi
  cat >"$dir/server.properties.new" <<P
process.roles=broker,controller
node.id=1
listeners=$listeners,CONTROLLER://127.0.0.1:$ctl
advertised.listeners=$advertised,CONTROLLER://127.0.0.1:$ctl
listener.security.protocol.map=$map
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=127.0.0.1:$ctl
log.dirs=$dir/logs
num.network.threads=2
num.io.threads=4
num.partitions=4
auto.create.topics.enable=false
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.retention.hours=-1
log.segment.delete.delay.ms=1000
log.cleaner.dedupe.buffer.size=33554432
$(secured "$dir")
${KAFKA_PROPERTIES:-}
P
  mv "$dir/server.properties.new" "$dir/server.properties"
}

# Format once; the controller's port is part of what is formatted, so the properties never change afterwards.
prepare() {
  local dir=$1 id=-
  [ -e "$dir/formatted" ] && return
  mkdir -p "$dir"
  configure "$dir"
  # A cluster id that begins with "-" would be read as an option.
  while [[ $id == -* ]]; do id=$(head -c16 /dev/urandom | base64 | tr '+/' '-_' | tr -d '='); done
  java -Xmx128m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Dlog4j2.configurationFile="$here/log4j2.properties" \
    -cp "$lib/*" kafka.tools.StorageTool format --standalone -t "$id" -c "$dir/server.properties" >"$dir/format.log" 2>&1 </dev/null ||
    { cat "$dir/format.log" >&2; fail "could not format $dir"; }
  touch "$dir/formatted"
}

run() {
  local dir=$1 heap=${KAFKA_HEAP:-512m}
  prepare "$dir"
  exec java -Xms"$heap" -Xmx"$heap" -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:+ExplicitGCInvokesConcurrent \
    -Djava.awt.headless=true -Dlog4j2.configurationFile="$here/log4j2.properties" \
    -cp "$lib/*" kafka.Kafka "$dir/server.properties" </dev/null
}

address() { sed -n 's#^listeners=PLAINTEXT://\([^,]*\),.*#\1#p' "$1/server.properties"; }

# A pid in the file is ours only if it is a java process that was started on this directory.
running() {
  local pid
  [ -s "$1/pid" ] && pid=$(cat "$1/pid") && [ -r "/proc/$pid/cmdline" ] &&
    tr '\0' '\n' <"/proc/$pid/cmdline" | grep -qxF "$1/server.properties"
}

start() {
  local dir=$1 pid
  if running "$dir"; then address "$dir"; return; fi
  fetch
  prepare "$dir"
  : >"$dir/broker.log"
  ${bound[@]+"${bound[@]}"} "$here/kafka.sh" run "$dir" >"$dir/broker.log" 2>&1 </dev/null &
  pid=$!
  echo "$pid" >"$dir/pid"
  for _ in $(seq 1 2400); do
    grep -q "$ready" "$dir/broker.log" && { address "$dir"; return; }
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  kill -9 "$pid" 2>/dev/null || true
  rm -f "$dir/pid"
  tail -n 20 "$dir/broker.log" >&2
  fail "the broker did not start; the end of its log is above"
}

stop() {
  local dir=$1 pid
  running "$dir" || { rm -f "$dir/pid"; return 0; }
  pid=$(cat "$dir/pid")
  kill "$pid"
  for _ in $(seq 1 200); do running "$dir" || { rm -f "$dir/pid"; return 0; }; sleep 0.1; done
  kill -9 "$pid" 2>/dev/null || true
  rm -f "$dir/pid"
}

with() {
  local base=${TMPDIR:-/tmp} code=0
  # Test data lives for minutes and is read once: memory is the right place for it, if there is room.
  if [ -d /dev/shm ] && [ "$(df --output=avail -k /dev/shm | tail -1)" -gt 4000000 ]; then base=/dev/shm; fi
  with_dir=$(mktemp -d "$base/millstream-kafka.XXXXXX")
  trap clean_up EXIT
  trap 'exit 130' INT TERM HUP
  # The broker must not outlive this script, even if the script is killed.
  bound=(setpriv --pdeathsig KILL)
  start "$with_dir" >/dev/null
  MILLSTREAM_TEST_KAFKA=$(address "$with_dir")
  export MILLSTREAM_TEST_KAFKA
  # In the background, so that a signal ends the wait; in a process group of its own, so that all of it can be ended.
  set -m
  "$@" </dev/null &
  with_group=$!
  set +m
  wait "$with_group" || code=$?
  exit "$code"
}

clean_up() {
  trap - EXIT INT TERM HUP
  [ -z "${with_group:-}" ] || kill -- "-$with_group" 2>/dev/null || true
  if running "$with_dir"; then kill -9 "$(cat "$with_dir/pid")" || true; fi
  wait 2>/dev/null || true
  rm -rf "$with_dir"
}

case ${1:-} in
  fetch) fetch ;;
  run) fetch; run "${2:?a directory}" ;;
  start) start "${2:?a directory}" ;;
  stop) stop "${2:?a directory}" ;;
  with) shift; [ $# -gt 0 ] || fail "with what command?"; with "$@" ;;
  classpath) echo "$client:$lib/*" ;;
  *) sed -n '2,19p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
