<?php
// Runs before each script of DokuWiki. The code of Debian's package stays where
// it is; configuration, data and plugins are in the folder of this file.
define('DOKU_MAIN_CONF', __DIR__ . '/conf/');
define('DOKU_CONF', __DIR__ . '/conf/');
define('DOKU_PLUGIN', __DIR__ . '/plugins/');

// As many servers say, of all that they serve.
header('X-Frame-Options: SAMEORIGIN');
header("Content-Security-Policy: object-src 'none'; frame-ancestors 'self'");

// What the app was told, for the test to read.
file_put_contents(__DIR__ . '/requests', json_encode([
    'method' => $_SERVER['REQUEST_METHOD'],
    'uri' => $_SERVER['REQUEST_URI'],
    'user' => $_SERVER['REMOTE_USER'] ?? '',
    'cookies' => (object)$_COOKIE,
]) . "\n", FILE_APPEND | LOCK_EX);
