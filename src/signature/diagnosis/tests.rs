//! Each known mistake, made for real, and the sentence that names it.
