-- The settings of a connection can be changed through the API: what counts as stock, what states are called, who owns what.
grant update (settings) on connection to lockstep_api;
