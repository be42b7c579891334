//! Sockets, threads, files: listeners, zoo.cfg, four-letter words.
