'use strict';

require('./operation_cases.js');
require('./watch_cases.js');
require('./session_cases.js');
require('./harness.js').runAll();
