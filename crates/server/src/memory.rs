//! Memory of the process.

/// Returns freed memory to the system. Called after a large state was dropped, whose many small
/// pieces the allocator would keep for later.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "glibc has a function for it, and no crate of ours wraps it")]
pub(crate) fn give_back() {
    unsafe extern "C" {
        fn malloc_trim(pad: usize) -> std::ffi::c_int;
    }
    // SAFETY: by malloc_trim(3) it may be called from any thread at any time with any `pad`. It takes
    // the allocator's own locks and releases pages that hold no allocation.
    let _anything_released = unsafe { malloc_trim(0) };
}

/// Returns freed memory to the system: here the allocator does so by itself.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn give_back() {}
