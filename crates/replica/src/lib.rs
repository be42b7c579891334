//! One server's behaviour: connections, watches, pending requests, session clocks.
