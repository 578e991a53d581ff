<?php
$conf['title'] = 'The wiki of the course';
$conf['savedir'] = dirname(__DIR__) . '/data';
$conf['useacl'] = 1;
$conf['authtype'] = 'authlti';
$conf['updatecheck'] = 0;
