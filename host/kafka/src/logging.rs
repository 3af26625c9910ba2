#![expect(unsafe_code, reason = "librdkafka is a C library")]
//! What librdkafka has to say goes where everything else goes, and not to standard error.

use crate::client::Configuration;
use rdkafka_sys as sys;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::{Arc, Mutex, PoisonError};

/// Lets a client log through `tracing`.
pub(crate) fn to_tracing(configuration: &Configuration) {
    // SAFETY: the configuration lives; the callback uses nothing but its arguments.
    unsafe { sys::rd_kafka_conf_set_log_cb(configuration.as_ptr(), Some(on_log)) }
}

unsafe extern "C" fn on_log(_: *const sys::rd_kafka_t, level: c_int, facility: *const c_char, text: *const c_char) {
    // SAFETY: librdkafka gives strings that end with zero.
    let (facility, text) =
        unsafe { (CStr::from_ptr(facility).to_string_lossy(), CStr::from_ptr(text).to_string_lossy()) };
    match level {
        // Properties for readers are given to writers as well, and the other way round.
        _ if facility == "CONFWARN" => tracing::trace!(target: "librdkafka", %facility, "{text}"),
        // A lost connection is an error to it and an event to us: it comes back by itself, or shows in what failed for want of it.
        0..=2 => tracing::error!(target: "librdkafka", %facility, "{text}"),
        3 | 4 => tracing::warn!(target: "librdkafka", %facility, "{text}"),
        5 | 6 => tracing::debug!(target: "librdkafka", %facility, "{text}"),
        _ => tracing::trace!(target: "librdkafka", %facility, "{text}"),
    }
}

/// The reason why a client cannot reach its brokers, as far as it was told one. Must outlive the client.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    last: Mutex<Option<Complaint>>,
}

#[derive(Debug, Clone)]
pub(crate) struct Complaint {
    /// Whether waiting will not help: wrong credentials, wrong certificates, TLS where there is none.
    pub(crate) is_final: bool,
    pub(crate) text: String,
}

impl Complaints {
    /// Notes what the client that will be made of the configuration complains about; it does so when it is polled.
    pub(crate) fn note(self: &Arc<Self>, configuration: &Configuration) {
        // SAFETY: the configuration lives; the opaque outlives the client by the contract of this type.
        unsafe {
            sys::rd_kafka_conf_set_opaque(configuration.as_ptr(), Arc::as_ptr(self).cast_mut().cast());
            sys::rd_kafka_conf_set_error_cb(configuration.as_ptr(), Some(on_error));
        }
    }

    pub(crate) fn last(&self) -> Option<Complaint> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn hear(&self, code: c_int, text: String) {
        use sys::rd_kafka_resp_err_t as known;
        if code == known::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN as c_int {
            return;
        }
        let is_final =
            code == known::RD_KAFKA_RESP_ERR__AUTHENTICATION as c_int || code == known::RD_KAFKA_RESP_ERR__SSL as c_int;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if is_final || !last.as_ref().is_some_and(|last| last.is_final) {
            *last = Some(Complaint { is_final, text });
        }
    }
}

unsafe extern "C" fn on_error(_: *mut sys::rd_kafka_t, code: c_int, text: *const c_char, opaque: *mut c_void) {
    // SAFETY: the opaque is a `Complaints` that outlives the client; the string ends with zero.
    let (complaints, text) = unsafe { (&*opaque.cast::<Complaints>(), CStr::from_ptr(text).to_string_lossy()) };
    complaints.hear(code, text.into_owned());
}
