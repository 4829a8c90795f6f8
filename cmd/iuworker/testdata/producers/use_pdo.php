<?php
// SAMPLE

$db = new PDO('pgsql:', null, null, [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);
echo placeOrder($db, $argv[1]), "\n";
