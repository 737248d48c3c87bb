//! Each way in which books can fail to close, one by one, from a run whose books close.
