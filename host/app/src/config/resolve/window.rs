use super::settings::time_ms;
use crate::config::raw::{self, Scalar};
use crate::config::{Place, Problem};
use millstream_model::window::{WindowKind, Windowing};

/// The most windows that a record may belong to: each costs as much as a record.
const WINDOWS_PER_RECORD_MAX: u64 = 1_000;

/// The windows of an operator.
pub(super) fn windowing(id: &str, raw: &raw::Window, place: &Place) -> Result<Windowing, Problem> {
    let wrong = |field: &str, text: &str| {
        Err(Problem::new(&place.field(field), format!("operator `{id}`: `window.{field}`: {text}")))
    };
    let length = |field: &str, value: &Scalar| time_ms(&place.field(field), Some(value), 0);
    let offset_ms = raw.offset.as_ref().map_or(Ok(0), |value| offset_ms(&place.field("offset"), value))?;
    let kind = match (&raw.tumbling, &raw.sliding) {
        (Some(size), None) if raw.every.is_none() => {
            WindowKind::Tumbling { size_ms: length("tumbling", size)?, offset_ms }
        }
        (Some(_), None) => {
            return wrong("every", "is for sliding windows; tumbling ones begin where the one before ends");
        }
        (None, Some(size)) => {
            let Some(every) = &raw.every else {
                return wrong(
                    "sliding",
                    "`every` is missing: the time from the beginning of one window to that of the next",
                );
            };
            WindowKind::Sliding { size_ms: length("sliding", size)?, slide_ms: length("every", every)?, offset_ms }
        }
        (Some(_), Some(_)) => return wrong("sliding", "windows are either `tumbling` or `sliding`"),
        (None, None) => {
            let text = format!(
                "operator `{id}`: `window` says nothing of the windows: `tumbling: 1m`, or `sliding: 1m` with `every: 10s`"
            );
            return Err(Problem::new(place, text));
        }
    };
    let (field, per_record) = match kind {
        WindowKind::Tumbling { size_ms, .. } => ("tumbling", u64::from(size_ms > 0)),
        WindowKind::Sliding { size_ms, slide_ms, .. } if size_ms > 0 && slide_ms > 0 => {
            ("every", size_ms.div_ceil(slide_ms))
        }
        WindowKind::Sliding { size_ms, .. } => (if size_ms == 0 { "sliding" } else { "every" }, 0),
    };
    match per_record {
        0 => return wrong(field, "is nothing; 1ms is the least"),
        1..=WINDOWS_PER_RECORD_MAX => {}
        many => {
            return wrong(
                field,
                &format!("every record would belong to {many} windows, and {WINDOWS_PER_RECORD_MAX} is the most"),
            );
        }
    }
    Ok(Windowing {
        kind,
        lateness_ms: raw.lateness.as_ref().map_or(Ok(0), |value| length("lateness", value))?,
        early_ms: raw.early.as_ref().map(|value| length("early", value)).transpose()?,
    })
}

/// A length of time with a sign.
fn offset_ms(place: &Place, value: &Scalar) -> Result<i64, Problem> {
    let text = value.text();
    let (sign, digits) = text.strip_prefix('-').map_or((1, text.as_str()), |digits| (-1, digits));
    let length = time_ms(place, Some(&Scalar::Text(digits.to_owned())), 0)?;
    Ok(i64::try_from(length).unwrap_or(i64::MAX).saturating_mul(sign))
}
