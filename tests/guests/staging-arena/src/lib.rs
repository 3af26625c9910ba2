//! `staging-arena`: the operators of `staging` with an allocator that only goes forward and begins anew with each call, as an SDK could have for what the
//! host writes into the guest. These operators keep nothing on the heap from call to call, so it can stand for everything.

#[cfg(target_arch = "wasm32")]
#[expect(unsafe_code, reason = "the generated exports are unsafe functions, and so is an allocator")]
#[path = "../../staging/src/component.rs"]
mod component;
#[cfg(target_arch = "wasm32")]
#[path = "../../staging/src/work.rs"]
mod work;

/// The lists of the call in hand are there already: it begins where they end, and what came before them is gone with the call before.
#[cfg(target_arch = "wasm32")]
use arena::begin_call;

#[cfg(target_arch = "wasm32")]
#[expect(unsafe_code, reason = "an allocator")]
mod arena {
    use std::alloc::{GlobalAlloc, Layout};
    use std::cell::UnsafeCell;
    use std::ptr;

    /// Two halves that take turns: while one call's lists are written into one, those of the call before lie in the other.
    const HALF_BYTES: usize = 16 << 20;

    struct Arena {
        memory: UnsafeCell<[u8; 2 * HALF_BYTES]>,
        next: UnsafeCell<usize>,
    }

    // SAFETY: a guest has one thread.
    unsafe impl Sync for Arena {}

    #[global_allocator]
    static ARENA: Arena = Arena { memory: UnsafeCell::new([0; 2 * HALF_BYTES]), next: UnsafeCell::new(0) };

    // SAFETY: every piece is aligned, within the memory, and handed out once until the arena begins anew.
    unsafe impl GlobalAlloc for Arena {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            let next = unsafe { &mut *self.next.get() };
            let start = next.next_multiple_of(layout.align());
            let end = start + layout.size();
            if end > 2 * HALF_BYTES {
                return ptr::null_mut();
            }
            *next = end;
            unsafe { self.memory.get().cast::<u8>().add(start) }
        }

        unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}

        /// The last piece grows where it is.
        unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            let next = unsafe { &mut *self.next.get() };
            let start = piece as usize - self.memory.get() as usize;
            if start + layout.size() == *next && start + size <= 2 * HALF_BYTES {
                *next = start + size;
                return piece;
            }
            let moved = unsafe { self.alloc(Layout::from_size_align_unchecked(size, layout.align())) };
            if !moved.is_null() {
                unsafe { ptr::copy_nonoverlapping(piece, moved, layout.size().min(size)) };
            }
            moved
        }
    }

    /// Goes to the other half once this one is used up: nothing of the call in hand lies there.
    pub(crate) fn begin_call() {
        let next = unsafe { &mut *ARENA.next.get() };
        if *next > HALF_BYTES {
            *next = 0;
        }
    }
}
