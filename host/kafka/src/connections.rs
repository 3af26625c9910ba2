#![expect(unsafe_code, reason = "librdkafka is a C library")]
//! Counts connections to brokers that were lost. The client retries a request by itself, and its logs and callbacks tell of that late or never; the state
//! change of the broker comes before the retry leaves.

use crate::client::Configuration;
use rdkafka_sys as sys;
use std::collections::HashSet;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    lost: AtomicU64,
    up: Mutex<HashSet<(i32, Vec<u8>, c_int)>>,
}

const NAME: &CStr = c"millstream";

impl Connections {
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Acquire)
    }

    /// Watches the client that will be made of the configuration. The value must outlive that client.
    pub(crate) fn watch(self: &Arc<Self>, configuration: &Configuration) {
        let opaque = Arc::as_ptr(self).cast_mut().cast();
        // SAFETY: the configuration is ours; the opaque outlives the client by the contract of this function.
        unsafe {
            sys::rd_kafka_conf_interceptor_add_on_new(configuration.as_ptr(), NAME.as_ptr(), Some(on_new), opaque)
        };
    }

    fn saw(&self, broker: (i32, Vec<u8>, c_int), is_up: bool) {
        let mut up = self.up.lock().unwrap_or_else(PoisonError::into_inner);
        if is_up {
            up.insert(broker);
        } else if up.remove(&broker) {
            self.lost.fetch_add(1, Ordering::AcqRel);
        }
    }
}

unsafe extern "C" fn on_new(
    rk: *mut sys::rd_kafka_t,
    _: *const sys::rd_kafka_conf_t,
    opaque: *mut c_void,
    _: *mut c_char,
    _: usize,
) -> sys::rd_kafka_resp_err_t {
    // SAFETY: called by librdkafka with the client in the making and our opaque.
    unsafe {
        sys::rd_kafka_interceptor_add_on_send(rk, NAME.as_ptr(), Some(on_send), std::ptr::null_mut());
        sys::rd_kafka_interceptor_add_on_broker_state_change(rk, NAME.as_ptr(), Some(on_state), opaque)
    }
}

unsafe extern "C" fn on_send(
    _: *mut sys::rd_kafka_t,
    message: *mut sys::rd_kafka_message_t,
    _: *mut c_void,
) -> sys::rd_kafka_resp_err_t {
    // SAFETY: librdkafka calls this for a message that it has made and not yet queued.
    unsafe { crate::outbox::stamp(message) };
    sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
}

unsafe extern "C" fn on_state(
    _: *mut sys::rd_kafka_t,
    broker: i32,
    _: *const c_char,
    name: *const c_char,
    port: c_int,
    state: *const c_char,
    opaque: *mut c_void,
) -> sys::rd_kafka_resp_err_t {
    // SAFETY: the opaque is a `Connections` that outlives the client; the strings end with zero.
    let (connections, name, state) =
        unsafe { (&*opaque.cast::<Connections>(), CStr::from_ptr(name), CStr::from_ptr(state)) };
    connections.saw((broker, name.to_bytes().to_vec(), port), state.to_bytes() == b"UP");
    sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_connection_that_was_up_can_be_lost() {
        let connections = Connections::default();
        let broker = || (1, b"localhost".to_vec(), 9_092);
        connections.saw(broker(), false);
        assert_eq!(connections.lost(), 0);
        connections.saw(broker(), true);
        connections.saw(broker(), false);
        connections.saw(broker(), false);
        assert_eq!(connections.lost(), 1);
    }
}
