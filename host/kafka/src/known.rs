#![expect(unsafe_code, reason = "librdkafka is a C library")]
//! The properties that librdkafka knows.

use rdkafka_sys as sys;
use std::ffi::CStr;

/// Likeness from which on a name is worth suggesting.
const LIKE: f64 = 0.8;

/// The known property whose name is most like this one.
pub(crate) fn nearest(name: &str) -> Option<String> {
    let likeness = |known: &String| strsim::jaro_winkler(name, known);
    let known = names().into_iter().filter(|known| likeness(known) > LIKE);
    known.max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
}

fn names() -> Vec<String> {
    let mut names = Vec::new();
    // SAFETY: every object is made here, used while it lives, and destroyed once; a dump is `count` strings, names and values in turn.
    unsafe {
        let (global, topic) = (sys::rd_kafka_conf_new(), sys::rd_kafka_topic_conf_new());
        let (mut of_global, mut of_topic) = (0, 0);
        let dumps = [
            (sys::rd_kafka_conf_dump(global, &mut of_global), of_global),
            (sys::rd_kafka_topic_conf_dump(topic, &mut of_topic), of_topic),
        ];
        for (dump, count) in dumps {
            if dump.is_null() {
                continue;
            }
            for at in (0..count).step_by(2) {
                names.push(CStr::from_ptr(*dump.add(at)).to_string_lossy().into_owned());
            }
            sys::rd_kafka_conf_dump_free(dump, count);
        }
        sys::rd_kafka_topic_conf_destroy(topic);
        sys::rd_kafka_conf_destroy(global);
    }
    // Those without a default are not in a dump.
    names.extend(["sasl.username", "sasl.password", "ssl.ca.location", "ssl.key.location"].map(str::to_owned));
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_nearly_right_is_found() {
        assert_eq!(nearest("fetch.min.byte").as_deref(), Some("fetch.min.bytes"));
        assert_eq!(nearest("security.protocoll").as_deref(), Some("security.protocol"));
        assert_eq!(nearest("sasl.pasword").as_deref(), Some("sasl.password"));
        assert_eq!(nearest("zzz"), None);
    }
}
