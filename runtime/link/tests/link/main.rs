//! Devices and hosts over real sockets: cut connections, broken and hostile peers, enrolment.

mod world;

mod cuts;

mod hostile_device;

mod hostile_host;

mod enrolment;
