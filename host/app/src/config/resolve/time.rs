use super::settings::time_ms;
use crate::config::raw::{self, OnError, Scalar, Timestamp};
use crate::config::{Place, Problem};
use millstream_connect::EventTimeAt;
use millstream_model::plan::{ErrorPolicy, SourceTime};

/// A topic's records may be so far ahead of the wall clock, in milliseconds, unless said otherwise: one bad record must not end every window.
const MAX_FUTURE_MS: u64 = 24 * 3_600_000;

/// What the records of a source say of time.
pub(super) fn source_time(
    id: &str,
    raw: &raw::Source,
    place: &Place,
    has_dead_letters: bool,
) -> Result<SourceTime, Problem> {
    let usual = SourceTime::default();
    let (fields, watermark) = (place.field("watermark"), &raw.watermark);
    let length = |name: &str, value: &Scalar| time_ms(&fields.field(name), Some(value), 0);
    if raw.on_error == Some(OnError::DeadLetter) && !has_dead_letters {
        let text =
            format!("source `{id}` has `on_error: dead_letter` and the pipeline no `dead_letters: {{ topic: … }}`");
        return Err(Problem::new(&place.field("on_error"), text));
    }
    let max_future_ms = match &raw.max_future {
        Some(value) if value.text() == "never" => None,
        Some(value) => Some(time_ms(&place.field("max_future"), Some(value), 0)?),
        None => raw.topic.is_some().then_some(MAX_FUTURE_MS),
    };
    Ok(SourceTime {
        disorder_ms: watermark.disorder.as_ref().map_or(Ok(usual.disorder_ms), |value| length("disorder", value))?,
        idle_after_ms: match &watermark.idle {
            Some(value) if value.text() == "never" => None,
            Some(value) => Some(length("idle", value)?),
            None => usual.idle_after_ms,
        },
        align_ms: watermark.align.as_ref().map(|value| length("align", value)).transpose()?,
        max_future_ms,
        on_error: match raw.on_error {
            None if has_dead_letters => ErrorPolicy::DeadLetter,
            None | Some(OnError::Stop) => ErrorPolicy::Stop,
            Some(OnError::DeadLetter) => ErrorPolicy::DeadLetter,
            Some(OnError::Skip) => ErrorPolicy::Skip,
        },
    })
}

/// Where the event time of a source's records is, if it is not their own timestamp.
pub(super) fn event_time(id: &str, raw: &raw::Source, place: &Place) -> Result<Option<EventTimeAt>, Problem> {
    let Some(Timestamp::At(at)) = &raw.timestamp else { return Ok(None) };
    let place = place.field("timestamp");
    match (&at.header, &at.pointer) {
        (Some(header), None) => Ok(Some(EventTimeAt::Header(header.clone()))),
        (None, Some(pointer)) => {
            let parsed = pointer.parse().map_err(|error| {
                Problem::new(&place.field("pointer"), format!("source `{id}`: `timestamp.pointer`: {error}"))
            });
            Ok(Some(EventTimeAt::Pointer(parsed?)))
        }
        _ => Err(Problem::new(
            &place,
            format!("source `{id}`: `timestamp` is `kafka`, `{{ header: NAME }}` or `{{ pointer: /a/b }}`"),
        )),
    }
}
