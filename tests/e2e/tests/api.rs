//! The door of a running pipeline: who comes in, what a module has to be, and that nothing that is refused does any harm. No Kafka.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use millstream_e2e::{Answer, Door, Millstream, Request, Workplace, eventually, guest, plugin};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);

/// Bids of an auction house, counted; it never ends.
fn pipeline(more: &str) -> Result<Workplace> {
    let module = |name: &str| -> Result<String> { Ok(plugin(name).canonicalize()?.display().to_string()) };
    Workplace::with_pipeline(&format!(
        "id: bids\n\
         sources:\n  events: {{ nexmark: {{ partitions: 2, rate: 5000, key: auction }} }}\n\
         operators:\n  bids: {{ module: {filter}, inputs: [events], config: {{ pointer: /bid }} }}\n  \
         count: {{ module: {count}, inputs: [bids], key_by: key }}\n\
         sinks:\n  out: {{ file: ./out.jsonl, format: json_lines, inputs: [count] }}\n\
         commit: {{ interval: 100ms }}\nstate: {{ dir: ./state }}\n{more}",
        filter = module("filter-json")?,
        count = module("count")?,
    ))
}

struct Running {
    place: Workplace,
    run: Millstream,
    door: Door,
}

impl Running {
    fn start(more: &str) -> Result<Self> {
        let place = pipeline(more)?;
        let run = place.start(&Default::default())?;
        let state = place.path().join("state");
        let door = eventually("the door", SOON, || {
            ensure!(run.exited()?.is_none(), "{}", run.log_end());
            let Ok(door) = Door::of(&state) else { return Ok(None) };
            let ready = door.send(&Request::new("GET /readyz", &[("Host", &door.address)]));
            Ok(ready.is_ok_and(|answer| answer.status == 200).then_some(door))
        })?;
        Ok(Self { place, run, door })
    }

    fn operator(&self) -> Result<Value> {
        Ok(self.door.ask("GET /api/v1/operators/count")?.body)
    }

    fn generation(&self) -> Result<u64> {
        self.operator()?.get("generation").and_then(Value::as_u64).context("no generation")
    }

    /// That it processes, and commits what it processes.
    fn goes_on(&self) -> Result<()> {
        let written = || -> Result<u64> {
            let status = self.door.ask("GET /api/v1/status")?.body;
            status.pointer("/sinks/out/records").and_then(Value::as_u64).context("no records")
        };
        let before = written()?;
        eventually("more records", SOON, || {
            ensure!(self.run.exited()?.is_none(), "{}", self.run.log_end());
            Ok((written()? > before).then_some(()))
        })
    }

    fn swap(&self, module: &[u8], query: &str) -> Result<Answer> {
        let line = format!("POST /api/v1/operators/count/swap{query}");
        self.door.send(&self.door.request(&line).with("application/wasm", module))
    }

    fn end(self) -> Result<()> {
        self.run.terminate()?;
        self.run.wait(SOON)?.expect_code(0)?;
        for gone in ["state/api.json", "state/control.sock"] {
            ensure!(!self.place.path().join(gone).exists(), "{gone} is still there");
        }
        Ok(())
    }
}

fn read(path: PathBuf) -> Vec<u8> {
    std::fs::read(&path).unwrap_or_else(|error| unreachable!("{}: {error}: make plugins guests", path.display()))
}

#[test]
fn nobody_comes_in_without_the_right_host_origin_and_token() -> Result<()> {
    let running = Running::start("")?;
    let address = running.door.address.clone();
    let own = format!("http://{address}");
    let token = format!("Bearer {}", running.door.token);
    let (host, bearer) = (("Host", address.as_str()), ("Authorization", token.as_str()));
    let cases: [(&str, &[(&str, &str)], u16); 12] = [
        ("POST /api/v1/stop", &[("Host", "evil.example"), bearer], 421),
        ("POST /api/v1/stop", &[("Host", "localhost"), bearer], 421),
        ("POST /api/v1/stop", &[host, ("Host", "evil.example"), bearer], 400),
        ("POST http://evil.example/api/v1/stop", &[host, bearer], 421),
        ("GET /livez", &[("Host", "evil.example")], 421),
        ("POST /api/v1/stop", &[host, ("Origin", "http://evil.example"), bearer], 403),
        ("POST /api/v1/stop", &[host, ("Origin", "null"), bearer], 403),
        ("POST /api/v1/stop", &[host, ("Sec-Fetch-Site", "cross-site"), bearer], 403),
        ("POST /api/v1/stop", &[host], 401),
        ("POST /api/v1/stop", &[host, ("Authorization", "Bearer 0000")], 401),
        ("GET /api/v1/status", &[host], 401),
        ("GET /api/v1/status", &[host, ("Origin", &own), bearer], 200),
    ];
    for (line, headers, expected) in cases {
        let answer = running.door.send(&Request::new(line, headers))?;
        // Two hosts are refused by the parser already or by the door: either way nothing is done.
        let is_expected = answer.status == expected || (expected == 400 && answer.status == 421);
        ensure!(is_expected, "{line} {headers:?}: {} and not {expected}", answer.status);
        if (401..=421).contains(&answer.status) {
            ensure!(answer.head.contains("application/problem+json"), "{}", answer.head);
            ensure!(answer.body.get("detail").is_some(), "{}", answer.body);
        }
    }
    // No answer to another page is readable by it.
    let preflight = Request::new("OPTIONS /api/v1/stop", &[host, ("Origin", "http://evil.example")]);
    let answer = running.door.send(&preflight)?;
    ensure!(answer.status == 403 && !answer.head.to_lowercase().contains("access-control"), "{}", answer.head);
    let mode = std::fs::metadata(running.place.path().join("state/token"))?.permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    running.run.wait_for_log("a request was refused at the door", SOON)?;
    ensure!(!running.run.log().contains(&running.door.token), "the token is in the log");
    running.goes_on()?;
    running.end()
}

#[test]
fn names_of_a_proxy_come_in_where_the_file_says_so() -> Result<()> {
    let running = Running::start("api: { hosts: [streams.example], origins: [\"https://streams.example\"] }\n")?;
    let token = format!("Bearer {}", running.door.token);
    let headers =
        [("Host", "streams.example"), ("Origin", "https://streams.example"), ("Authorization", token.as_str())];
    assert_eq!(running.door.send(&Request::new("GET /api/v1/status", &headers))?.status, 200);
    running.end()
}

#[test]
fn what_is_no_module_for_it_is_refused_and_does_nothing() -> Result<()> {
    let running = Running::start("")?;
    let count = read(plugin("count"));
    let cut = count.get(..count.len() / 2).unwrap().to_vec();
    // What compiled code begins with.
    let native = [b"\x7fELF\x02\x01\x01".as_slice(), &[0; 64]].concat();
    for (what, module, problem) in [
        ("nothing", Vec::new(), "unfit-module"),
        ("a text", b"not a module".to_vec(), "unfit-module"),
        ("compiled code", native, "unfit-module"),
        ("half a module", cut, "unfit-module"),
        ("another world", read(guest("wrong-world")), "unfit-module"),
        ("two operators", read(guest("two-operators")), "unfit-module"),
        ("other ports", read(plugin("sum-by-key")), "does-not-fit"),
        ("the one that runs", count, "already-runs"),
    ] {
        let answer = running.swap(&module, "")?;
        ensure!(answer.problem() == problem, "{what}: {} {}", answer.status, answer.body);
        let checked = running.door.request("POST /api/v1/operators/count/swap/check");
        let checked = running.door.send(&checked.with("application/wasm", module))?;
        ensure!(checked.problem() == problem, "{what}, checked: {} {}", checked.status, checked.body);
    }
    assert_eq!(running.generation()?, 1);
    running.run.wait_for_log("a swap was refused", SOON)?;
    running.goes_on()?;
    running.end()
}

#[test]
fn what_is_too_large_or_makes_no_sense_is_refused_before_it_is_looked_at() -> Result<()> {
    let running = Running::start("")?;
    let too_large = vec![0; (64 << 20) + 1];
    assert_eq!(running.swap(&too_large, "")?.status, 413);
    let post = |path: &str, media_type: &str, body: &str| {
        let request = running.door.request(&format!("POST /api/v1/operators/{path}"));
        running.door.send(&request.with(media_type, body))
    };
    for (path, media_type, body, status) in [
        ("count/swap", "text/plain", "x", 415),
        ("count/swap", "application/json", "{", 400),
        ("count/swap", "application/json", r#"{"module": 7}"#, 400),
        ("count/swap", "application/json", r#"{"module": "x", "path": "y"}"#, 400),
        ("count/swap", "application/json", r#"{"module": "../../../etc/passwd"}"#, 404),
        ("count/swap", "application/json", r#"{"module": "../x@1"}"#, 404),
        ("count/swap", "application/json", r#"{"module": "no-such@1.0.0"}"#, 404),
        ("none/swap", "application/json", r#"{"module": "no-such@1.0.0"}"#, 404),
        ("count/swap?trial_records=0", "application/json", r#"{"module": "no-such@1.0.0"}"#, 404),
        ("count/swap?trial_records=x", "application/wasm", "", 400),
        ("count/swap?output_ratio=2", "application/wasm", "", 400),
        ("count/swap?no_such=1", "application/wasm", "", 400),
        ("none/rollback", "application/json", "", 404),
        ("count/rollback", "application/json", "", 409),
    ] {
        let answer = post(path, media_type, body)?;
        ensure!(answer.status == status, "{path} {body}: {} {}", answer.status, answer.body);
    }
    let module = read(plugin("count-2"));
    assert_eq!(running.swap(&module, "?trial_records=0")?.status, 400);
    assert_eq!(running.swap(&module, "?max_reject_ratio=2")?.status, 400);
    for (line, status) in [
        ("GET /api/v1/nothing", 404),
        ("GET /api/v1/operators/none", 404),
        ("GET /api/v1/operators/none/generations", 404),
        ("GET /api/v1/operators/count/swap", 405),
        ("DELETE /api/v1/operators/count", 405),
    ] {
        let answer = running.door.ask(line)?;
        ensure!(answer.status == status && answer.body.get("type").is_some(), "{line}: {answer:?}");
    }
    assert_eq!(running.generation()?, 1);
    running.goes_on()?;
    running.end()
}

#[test]
fn a_module_takes_over_a_bad_one_does_not_and_the_one_before_comes_back() -> Result<()> {
    let running = Running::start("")?;
    running.goes_on()?;
    let second = running.swap(&read(plugin("count-2")), "")?;
    ensure!(second.status == 200, "{}", second.body);
    assert_eq!(second.body.get("generation"), Some(&json!(2)));
    assert_eq!(second.body.get("is_proven"), Some(&json!(true)));
    assert_eq!(running.generation()?, 2);
    let third = running.swap(&read(plugin("count-3")), "")?;
    ensure!(third.problem() == "trial-failed", "{} {}", third.status, third.body);
    let failure = third.body.get("failure").context("no failure")?;
    ensure!(failure.get("source") == Some(&json!("events")) && failure.get("offset").is_some(), "{failure}");
    assert_eq!(running.generation()?, 2);
    ensure!(running.operator()?.pointer("/last_event/kind") == Some(&json!("refused")), "{}", running.operator()?);
    running.goes_on()?;
    let back = running.door.ask("POST /api/v1/operators/count/rollback")?;
    ensure!(back.status == 200, "{}", back.body);
    assert_eq!(back.body.get("generation"), Some(&json!(3)));
    let generations = running.door.ask("GET /api/v1/operators/count/generations")?.body;
    let numbers: Vec<u64> =
        generations.as_array().unwrap().iter().filter_map(|one| one.get("generation")?.as_u64()).collect();
    assert_eq!(numbers, [1, 2, 3]);
    running.goes_on()?;
    running.end()
}

#[test]
fn the_document_describes_every_route() -> Result<()> {
    let running = Running::start("")?;
    let document = running.door.ask("GET /api/v1/openapi.json")?.body;
    let paths: Vec<&String> = document.get("paths").and_then(Value::as_object).context("no paths")?.keys().collect();
    for path in [
        "/livez",
        "/readyz",
        "/api/v1/status",
        "/api/v1/pause",
        "/api/v1/resume",
        "/api/v1/stop",
        "/api/v1/savepoint",
        "/api/v1/operators",
        "/api/v1/operators/{operator}",
        "/api/v1/operators/{operator}/generations",
        "/api/v1/operators/{operator}/swap",
        "/api/v1/operators/{operator}/swap/check",
        "/api/v1/operators/{operator}/rollback",
    ] {
        ensure!(paths.iter().any(|known| *known == path), "{path} is not among {paths:?}");
    }
    let fields = document.pointer("/components/schemas/OperatorStatus").context("no schema of an operator")?;
    ensure!(fields.to_string().contains("records_in"), "{fields}");
    running.end()
}

#[test]
fn a_pipeline_without_a_port_is_told_by_its_socket() -> Result<()> {
    let place = pipeline("api: { listen: \"off\" }\n")?;
    let run = place.start(&Default::default())?;
    eventually("its socket", SOON, || {
        ensure!(run.exited()?.is_none(), "{}", run.log_end());
        Ok((place.command(&["status", "pipeline.yaml"])?.code == Some(0)).then_some(()))
    })?;
    for absent in ["state/api.json", "state/token"] {
        ensure!(!place.path().join(absent).exists(), "{absent} is there");
    }
    place.command(&["stop", "pipeline.yaml"])?.expect_code(0)?;
    run.wait(SOON)?.expect_code(0)?;
    Ok(())
}

#[test]
fn an_address_that_others_reach_is_refused() -> Result<()> {
    let place = pipeline("")?;
    for address in ["0.0.0.0:0", "192.0.2.1:80", "[::]:0", "everywhere"] {
        let exit = place.command(&["run", "pipeline.yaml", "--listen", address])?.expect_code(78)?;
        ensure!(exit.stderr.contains("--listen: "), "{}", exit.stderr);
    }
    ensure!(!place.path().join("state").exists(), "something was changed");
    Ok(())
}
