//! A broker that wants TLS and a password, and lets users do what ACLs allow.

use std::time::Duration;

use anyhow::{Context as _, Result};
use millstream_e2e::{
    CountJob, CountJobOptions, Kafka, KafkaOptions, MillstreamOptions, OutsideClient, SecuredListener, free_port,
};

const LONG: Duration = Duration::from_secs(120);
const CONFIG: i32 = 78;
const USER: &str = "alice";
const PASSWORD: &str = "correct-horse";

fn broker() -> Result<Kafka> {
    Kafka::start(&KafkaOptions { users: vec![(USER.to_owned(), PASSWORD.to_owned())], ..KafkaOptions::default() })
}

/// A job that comes to the secured listener, with its password in a file and its name in the environment.
fn job<'a>(kafka: &'a Kafka, name: &str) -> Result<(CountJob<'a>, &'a SecuredListener)> {
    let secured = kafka.secured().context("the broker has no secured listener")?;
    let job = CountJob::new(kafka, name, &CountJobOptions::default())?;
    let yaml = std::fs::read_to_string(job.workplace.path().join("pipeline.yaml"))?;
    let (before, after) = yaml.split_once("kafka: {").context("no kafka in the file")?;
    let (_, after) = after.split_once('\n').context("no line")?;
    let kafka = format!(
        "kafka:\n  brokers: \"{}\"\n  security.protocol: sasl_ssl\n  ssl.ca.location: {}\n  sasl.mechanism: PLAIN\n  \
         sasl.username: \"env:TEST_USER\"\n  sasl.password: \"file:password\"\n",
        secured.address,
        secured.certificate.display()
    );
    job.workplace.write("pipeline.yaml", format!("{before}{kafka}{after}"))?;
    job.workplace.write("password", format!("{PASSWORD}\n"))?;
    Ok((job, secured))
}

fn user(name: &str) -> MillstreamOptions {
    MillstreamOptions { environment: vec![("TEST_USER".to_owned(), name.to_owned())], ..MillstreamOptions::default() }
}

fn validate(name: &str) -> MillstreamOptions {
    let arguments = ["validate", "pipeline.yaml"].map(str::to_owned).to_vec();
    MillstreamOptions { arguments: Some(arguments), ..user(name) }
}

/// Everything a pipeline needs, as the documentation has it.
fn allow(client: &OutsideClient, job: &CountJob<'_>) -> Result<()> {
    client.allow(USER, ("topic", &job.input), &["read", "describe"])?;
    client.allow(USER, ("topic", &job.output), &["write", "describe", "describe_configs"])?;
    client.allow(
        USER,
        ("topic", &format!("{}.*", job.id)),
        &["create", "read", "write", "describe", "describe_configs"],
    )?;
    client.allow(USER, ("transactional_id", &job.id), &["write", "describe"])?;
    client.allow(USER, ("group", &job.id), &["read", "describe"])
}

#[test]
fn a_pipeline_runs_over_tls_with_a_password_and_the_rights_it_needs() -> Result<()> {
    let kafka = broker()?;
    let (mut job, _) = job(&kafka, "secured")?;
    // Without any rights everything that is missing is told at once, and nothing is made.
    let refused = job.workplace.start(&validate(USER))?.wait(LONG)?.expect_code(CONFIG)?;
    for missing in [&job.input, &job.output, &format!("{}.commits", job.id), &format!("{}.changelog.0", job.id)] {
        assert!(refused.stderr.contains(&format!("topic `{missing}`")), "{missing}: {}", refused.stderr);
    }
    assert!(refused.stderr.contains("things are in the way"), "{}", refused.stderr);
    let ran = job.start_with(&user(USER))?.wait(LONG)?.expect_code(CONFIG)?;
    assert_eq!(ran.stderr.lines().last(), refused.stderr.lines().last());
    assert!(!job.client()?.topics()?.contains(&format!("{}.commits", job.id)));
    // With them it runs, and goes on.
    allow(job.client()?, &job)?;
    job.workplace.start(&validate(USER))?.wait(LONG)?.expect_code(0)?;
    let mut counts = job.counts()?;
    for _ in 0..2 {
        job.feed((0..1_000).map(|n| format!("key-{}", n % 10)))?;
        let run = job.start_with(&user(USER))?;
        job.settle(&mut counts, &run, LONG)?;
        run.terminate()?;
        let exit = run.wait(LONG)?.expect_code(0)?;
        assert!(!exit.stderr.contains(PASSWORD), "the password is in the log");
    }
    let verify = ["verify", "pipeline.yaml"].map(str::to_owned).to_vec();
    let verified = MillstreamOptions { arguments: Some(verify), ..user(USER) };
    // What was written cannot be read back without the right to.
    job.client()?.allow(USER, ("topic", &job.output), &["read"])?;
    job.workplace.start(&verified)?.wait(LONG)?.expect_code(0)?;
    Ok(())
}

#[test]
fn single_rights_that_are_missing_are_named() -> Result<()> {
    let kafka = broker()?;
    let (job, _) = job(&kafka, "rights")?;
    let client = job.client()?;
    client.allow(USER, ("topic", &job.input), &["describe"])?;
    client.allow(USER, ("topic", &job.output), &["describe", "describe_configs"])?;
    client.allow(USER, ("topic", &format!("{}.*", job.id)), &["create"])?;
    let refused = job.workplace.start(&validate(USER))?.wait(LONG)?.expect_code(CONFIG)?;
    for part in [
        format!("topic `{}`: the user may not READ it", job.input),
        format!("topic `{}`: the user may not WRITE it", job.output),
        format!("the user may not use group `{}`", job.id),
    ] {
        assert!(refused.stderr.contains(&part), "{part}: {}", refused.stderr);
    }
    // What no broker tells beforehand ends the start at once, with what is missing.
    allow(client, &job)?;
    let yaml = std::fs::read_to_string(job.workplace.path().join("pipeline.yaml"))?;
    let other = format!("{}-b", job.id);
    job.workplace.write("pipeline.yaml", yaml.replace(&format!("id: {}", job.id), &format!("id: {other}")))?;
    client.allow(
        USER,
        ("topic", &format!("{other}.*")),
        &["create", "read", "write", "describe", "describe_configs"],
    )?;
    client.allow(USER, ("group", &other), &["read", "describe"])?;
    let refused = job.start_with(&user(USER))?.wait(LONG)?;
    assert_ne!(refused.code, Some(0), "{}", refused.stderr);
    assert!(refused.stderr.contains("the user needs WRITE and DESCRIBE on the transactional id"), "{}", refused.stderr);
    Ok(())
}

#[test]
fn a_wrong_password_a_wrong_certificate_and_a_wrong_port_are_told_apart() -> Result<()> {
    let kafka = broker()?;
    let (job, secured) = job(&kafka, "wrong")?;
    let refused = |expected: &[&str], unexpected: &str| -> Result<()> {
        let exit = job.start_with(&user(USER))?.wait(LONG)?.expect_code(CONFIG)?;
        for part in expected {
            assert!(exit.stderr.contains(part), "{part}: {}", exit.stderr);
        }
        assert!(!exit.stderr.contains(unexpected), "{}", exit.stderr);
        Ok(())
    };
    job.workplace.write("password", "battery-staple")?;
    refused(&["Authentication failed", "check the TLS and SASL properties"], "battery-staple")?;
    job.workplace.write("password", PASSWORD)?;
    let yaml = std::fs::read_to_string(job.workplace.path().join("pipeline.yaml"))?;
    let without: String =
        yaml.lines().filter(|line| !line.contains("ssl.ca.location")).map(|line| format!("{line}\n")).collect();
    job.workplace.write("pipeline.yaml", &without)?;
    refused(&["certificate", "check the TLS and SASL properties"], PASSWORD)?;
    let nowhere = format!("127.0.0.1:{}", free_port()?);
    job.workplace.write("pipeline.yaml", yaml.replace(&secured.address.to_string(), &nowhere))?;
    refused(&["no broker answered", &nowhere], PASSWORD)?;
    // Plain text to a listener that speaks TLS.
    job.workplace.write("pipeline.yaml", yaml.replace("sasl_ssl", "sasl_plaintext"))?;
    refused(&["check"], PASSWORD)?;
    Ok(())
}
